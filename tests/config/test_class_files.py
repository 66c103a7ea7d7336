"""Class lists by name: what ships is whole, and what a recipe says holds before it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import class_file, load
from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe
from medseg.errors import Code

COUNTS = {
    "ade20k": 150,
    "apolloscape": 22,
    "bdd100k": 19,
    "camvid": 11,
    "camvid32": 31,
    "cityscapes": 19,
    "cocostuff": 171,
    "kitti": 19,
    "kitti_road": 2,
    "mapillary": 65,
    "pascal_context": 59,
    "voc": 21,
}


def recipe(**data: Any) -> Recipe:
    return load.validate({"name": "r", "data": data}, Path("r.yaml"))


def problems(**data: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        recipe(**data)
    return [str(problem) for problem in caught.value.problems]


def test_all_that_ship_load_with_their_number_of_classes() -> None:
    assert {name: len(recipe(class_file=name).data.classes) for name in class_file.packaged_names()} == COUNTS


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_every_list_says_where_its_facts_come_from(name: str) -> None:
    text = (class_file.packaged() / f"classes/{name}.yaml").read_text()
    assert "# Source: " in text


def test_known_rows() -> None:
    voc, city = recipe(class_file="voc").data.class_list(), recipe(class_file="cityscapes").data.class_list()
    assert voc.classes[20].name == "tvmonitor" and voc.classes[20].colour == (0, 64, 128) and voc.background
    assert city.values[:3] == (7, 8, 11) and len(city.foreground) == 19 and 29 in city.void_values
    assert recipe(class_file="camvid").data.class_list().names[-1] == "Bicyclist"
    assert dict(recipe(class_file="apolloscape").data.class_list().merged)[161] == 33
    assert recipe(class_file="camvid32").data.class_list().label_form == "colours"


def test_the_recipe_s_own_keys_hold_before_the_list_s() -> None:
    data = recipe(class_file="voc", layout="plain", void=[], label="gt/{case}").data
    assert (data.layout, data.void, data.label) == ("plain", (), "gt/{case}")
    assert data.class_file is None and len(data.classes) == 21


def test_a_resolved_recipe_is_read_again_as_it_is(tmp_path: Path) -> None:
    made = recipe(class_file="kitti_road")
    load.save(made, tmp_path / "recipe.yaml")
    assert load.load(str(tmp_path / "recipe.yaml")) == made


def test_a_list_of_one_s_own_is_found_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("classes: {0: nothing, 1: 'yes'}\nlabel_form: {above: 128}\n")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "r", "data": {"class_file": "mine.yaml"}}))
    data = load.load(str(tmp_path / "r.yaml")).data
    assert data.class_list().threshold == 128 and data.label_form == 128
    (tmp_path / "here").mkdir()
    (tmp_path / "here/other.yaml").write_text("classes: {0: a, 1: b}\n")
    monkeypatch.chdir(tmp_path / "here")
    data = load.load(str(tmp_path / "r.yaml"), ["data.class_file=./other.yaml"]).data
    assert data.class_list().names == ("a", "b")


def test_faults_of_lists_are_told_beside_the_recipe_s_other_faults(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("layout: voc\n")
    (tmp_path / "more.yaml").write_text("classes: {0: a, 1: b}\nsplits: listed\n")
    (tmp_path / "bad.yaml").write_text("classes: [")
    for name, told in (
        ("nowhere", "no such class list; give a YAML file or one of: ade20k, "),
        (str(tmp_path / "gone.yaml"), "no such class list"),
        (str(tmp_path / "none.yaml"), "no classes"),
        (str(tmp_path / "more.yaml"), "unknown key splits"),
        (str(tmp_path / "bad.yaml"), "not YAML"),
    ):
        lines = problems(class_file=name, layot="voc")
        assert len(lines) == 2, lines
        assert any("data.class_file" in line and told in line for line in lines), lines
        assert any("data.layot" in line for line in lines)


def test_classes_and_a_class_file_exclude_each_other() -> None:
    (line,) = problems(class_file="voc", classes={0: "a", 1: "b"})
    assert "data.class_file" in line and "leave one of both out" in line
    (line,) = problems(layout="plain")
    assert "data.classes: missing" in line


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_form": "above"},
        {"label_form": {"above": -1}},
        {"label_form": {"above": 3}, "classes": {0: "a", 1: "b", 2: "c"}},
        {"merge": {1: 0}},
        {"void_colours": [[0, 0, 0]], "label_form": "colours"},
        {"layout": "csv"},
        {"table": "cases.csv"},
        {"splits": "official"},
    ],
)
def test_keys_of_label_files_and_tables_are_checked(wrong: dict[str, Any]) -> None:
    lines = problems(**{"classes": {0: "a", 1: "b"}, **wrong})
    assert all(line.startswith(Code.RECIPE_INVALID) for line in lines)


def test_listed_splits_are_one_fold_and_image_sets_have_three_channels() -> None:
    data = recipe(class_file="camvid", splits="listed").data
    assert data.n_folds() == 1 and data.channel_names() == ("red", "green", "blue")
    assert recipe(classes={0: "a", 1: "b"}).data.channel_names() == ("image",)
    assert recipe(classes={0: "a", 1: "b"}, channels={"em": "x/{case}"}).data.channel_names() == ("em",)


def test_every_recipe_of_the_page_on_image_sets_loads() -> None:
    page = (Path(__file__).parents[2] / "docs/datasets.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        load.validate({"name": "page", **yaml.safe_load(block)}, Path("datasets.md"))
    named = {name for name in class_file.packaged_names() if f"`{name}`" in page}
    assert named == set(COUNTS)
