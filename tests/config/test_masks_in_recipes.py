"""Masks that may overlap in a recipe: what goes with them, and all that does not, told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import load
from medseg.config.load import RecipeError
from medseg.config.sections import Predict

REGIONS: dict[str, Any] = {
    "name": "r",
    "data": {
        "classes": {0: "background", 1: "anterior", 2: "posterior"},
        "regions": {"whole": [1, 2], "anterior": [1]},
    },
    "loss": {"name": "bce_dice"},
}
MASKS: dict[str, Any] = {
    "name": "m",
    "data": {"channels": {"t1": "{case}"}, "masks": {"whole": "{case}_w", "core": "{case}_c"}},
    "loss": {"name": "bce"},
}


def loaded(folder: Path, tree: dict[str, Any], *settings: str) -> Any:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load.load(str(path), settings)


def told(folder: Path, tree: dict[str, Any], *settings: str) -> dict[str, str]:
    """Key → what was found and the remedy, of each problem."""
    with pytest.raises(RecipeError) as caught:
        loaded(folder, tree, *settings)
    return {p.where.split(": ")[1]: f"{p.details}; {p.how_to_fix}" for p in caught.value.problems}


def test_regions_and_masks_make_the_class_list(tmp_path: Path) -> None:
    regions = loaded(tmp_path, REGIONS, "predict.thresholds.whole=0.4").data.class_list()
    assert regions.masks == ("whole", "anterior")
    assert dict(regions.file_values) == {0: 0, 1: 3, 2: 1}
    masks = loaded(tmp_path, MASKS, "loss.class_weights=[1, 2]").data.class_list()
    assert masks.masks == ("whole", "core")
    assert masks.file_values == ()


def test_it_is_written_and_read_again(tmp_path: Path) -> None:
    for tree in (REGIONS, MASKS):
        recipe = loaded(tmp_path, tree)
        load.save(recipe, tmp_path / "saved.yaml")
        assert load.load(str(tmp_path / "saved.yaml")) == recipe


def test_thresholds_that_are_off_change_no_hash() -> None:
    assert "thresholds" not in Predict().used()
    assert Predict(thresholds={"a": 0.3}).used()["thresholds"] == {"a": 0.3}


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("loss.name=ce_dice", "loss.name", "use one of bce, bce_dice"),
        ("loss.class_weights=median_frequency", "loss.class_weights", "one weight a mask"),
        ("loss.class_weights=[1, 2, 3]", "loss.class_weights", "3 values for 2 classes"),
        ("predict.crf={}", "predict.crf", "masks may overlap; leave it out"),
        (
            "predict.thresholds={core: 0.5}",
            "predict.thresholds",
            "no mask core; name some of whole, anterior",
        ),
        ("predict.thresholds={whole: 1}", "predict.thresholds.whole", "less than 1"),
        ("data.regions.far=[3, 4]", "data.regions", "far: no class has the value 3, 4; name some of 0, 1, 2"),
        ("data.regions.none=[]", "data.regions.none", "at least 1"),
        ("data.regions.confidence=[1]", "data.regions", "a mask named 'confidence'; rename it"),
        ("data.regions.outside=[1]", "data.regions", "a mask named 'outside'; rename it"),
        ("data.regions.mean=[1]", "data.regions", "a class named 'mean'; rename it"),
        ("data.regions.a/b=[1]", "data.regions", "a mask named 'a/b'; use letters, digits"),
        (
            "data.regions={a: [1], b: [1], c: [1], d: [1], e: [1], f: [1], g: [1], h: [1]}",
            "data.regions",
            "8 masks; keep at least 1 and at most 7",
        ),
        ("data.void=1", "data.void", "void value 1 is also a class"),
        ("data.merge={5: 9}", "data.merge", "value 5 cannot be merged into 9"),
        ("data.background=false", "data.background", "remove the key"),
        ("data.label_form=100", "data.regions", "write the label maps by values"),
        ("data.classes={}", "data.classes", "missing; add the key"),
        ("train.monitor=miou", "train.monitor", "use dice_mean"),
        ("report.explain=[posterior]", "report.explain", "no class posterior"),
        ("loss.weight_map={}", "loss", "bce_dice takes none"),
    ],
)
def test_what_does_not_go_with_regions(tmp_path: Path, setting: str, key: str, words: str) -> None:
    found = told(tmp_path, REGIONS, setting)
    assert words in found[key]
    assert len(found) == 1


def test_what_does_not_go_with_masks_is_told_together(tmp_path: Path) -> None:
    given = ("data.regions={a: [1]}", "data.label=x", "data.classes={0: a, 1: b}", "data.channels={}")
    with pytest.raises(RecipeError) as caught:
        loaded(tmp_path, MASKS, *given, "data.layout=plain", "data.label_form=colours", "loss.name=dice")
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 7
    for words in ("data.regions too", "data.label too", "data.classes too", "no channels", "layout plain"):
        assert any(words in line for line in lines), words


def test_losses_and_thresholds_of_masks_need_masks(tmp_path: Path) -> None:
    plain = {"name": "p", "data": {"classes": {0: "background", 1: "lesion"}}}
    found = told(tmp_path, plain, "loss.name=bce", "predict.thresholds={lesion: 0.3}")
    assert found.keys() == {"loss.name", "predict.thresholds"}
    assert "give data.regions or data.masks, or use ce_dice" in found["loss.name"]


def test_a_mask_that_no_file_can_be_named_after_is_told_at_the_masks(tmp_path: Path) -> None:
    found = told(tmp_path, MASKS, "data.masks.a/b=x_{case}")
    assert found == {
        "data.masks": "a mask named 'a/b'; use letters, digits, _, . and -: it is part of a file's name"
    }


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("data.classes.1=background", "data.classes", "two classes are 'background'; keep one, or rename it"),
        ('data.classes.1=" "', "data.classes", "a class named ' '; give it a name of printable characters"),
        ('data.classes.1="a\\nb"', "data.classes", "; give it a name of printable characters"),
        ("data.classes={0: a}", "data.classes", "1 class; list 2 to 255, the background among them"),
        ("data.void=1", "data.void", "the void value 1 is also a class; use another value"),
        ("data.void_colours=[[1, 2, 3]]", "data.void_colours", "no void value; name the value"),
        ("data.label_form={above: 3}", "data.label_form", "two classes apart, the list has 3; list two"),
    ],
)
def test_a_class_list_that_cannot_be_is_one_line_at_its_key(
    tmp_path: Path, setting: str, key: str, words: str
) -> None:
    plain = {"name": "p", "data": {"classes": {0: "background", 1: "lesion", 2: "rim"}}}
    found = told(tmp_path, plain, setting)
    assert found.keys() == {key} and words in found[key]


def test_a_colour_that_two_classes_share_is_named(tmp_path: Path) -> None:
    classes = {v: {"name": name, "colour": [9, 9, 9]} for v, name in enumerate(("sky", "road"))}
    found = told(tmp_path, {"name": "p", "data": {"classes": classes, "label_form": "colours"}})
    assert "share the colour [9, 9, 9]; classes written by their colours" in found["data.classes"]


def test_what_clashes_within_sections_hides_nothing_of_others(tmp_path: Path) -> None:
    wrong = ("data.void=1", "network.reinit_layers=[head.*]", "train.precision=fp16", "train.device=cpu")
    found = told(tmp_path, MASKS, *wrong, "loss.name=dice")
    assert found.keys() == {"data.void", "network.reinit_layers", "train.precision", "loss.name"}


CLASS_FILES: dict[str, Any] = {
    "name": "c",
    "data": {
        "channels": {"ct": "{case}/ct"},
        "label": "{case}/seg/{class}",
        "classes": {0: "background", 1: "liver", 2: "spleen"},
    },
}


def test_classes_with_files_of_their_own_exclude_each_other(tmp_path: Path) -> None:
    classes = loaded(tmp_path, CLASS_FILES).data.class_list()
    assert classes.own_files and not classes.later_wins and not classes.multilabel
    assert not classes.as_written().own_files  # a prediction is one label map
    later = loaded(tmp_path, CLASS_FILES, "data.overlap=later", "data.label_form={above: 3}").data
    assert later.class_list().later_wins and later.class_list().threshold == 3


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("data.regions={whole: [1]}", "data.label", "data.regions too"),
        ("data.merge={3: 1}", "data.label", "data.merge too"),
        ("data.label_form=colours", "data.label", "holds 1 inside"),
        ("data.background=false", "data.background", "voxels in no file are background"),
        ("data.layout=bids", "data.label", "set data.layout to patterns"),
        ("data.classes={0: background, 1: a/b}", "data.classes", "a/b"),
    ],
)
def test_what_does_not_go_with_files_of_classes(tmp_path: Path, setting: str, key: str, words: str) -> None:
    problems = told(tmp_path, CLASS_FILES, setting)
    assert any(key in where and words in text for where, text in problems.items()), problems


def test_overlap_needs_files_of_classes(tmp_path: Path) -> None:
    tree = {**CLASS_FILES, "data": {**CLASS_FILES["data"], "label": "{case}/seg"}}
    assert "leave it out" in "".join(told(tmp_path, tree, "data.overlap=later").values())
