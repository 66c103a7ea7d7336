"""Every key has a meaning and typical values; the JSON Schema agrees with the models, and recipes name it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from pydantic import BaseModel

from medseg.config import load, reference
from medseg.config.fitted import plan
from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe
from medseg.ingest.layouts import Guess
from pipelines.commands import init_text
from tests.helpers.json_schema import problems

USUAL = plan.unfitted("mm", multilabel=False)

SCHEMA = json.loads(reference.schema())
PACKAGED = sorted(load.packaged().glob("*.yaml"))
MODELINE = "# yaml-language-server: $schema="
SMALL: dict[str, Any] = {"name": "small", "data": {"classes": {0: "background", 1: "lesion"}}}


def sections(section: type[BaseModel]) -> set[type[BaseModel]]:
    below = {p for f in section.model_fields.values() for p in load.sections_in(f.annotation)}
    return {section}.union(*(sections(part) for part in below))


def named_schema(recipe: Path) -> Path:
    """The file that the first line of a recipe names, as an editor looks for it."""
    first = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(MODELINE)
    target = first.removeprefix(MODELINE)
    assert not {" ", "#"} & set(target)
    if target.startswith("file:"):
        return Path(unquote(urlsplit(target).path))
    return recipe.parent / target


def as_json(tree: Any) -> Any:
    """A YAML tree with keys as texts, as editors and JSON have them."""
    return json.loads(json.dumps(tree))


@pytest.mark.parametrize(
    "section", sorted(sections(Recipe), key=lambda s: s.__name__), ids=lambda s: s.__name__
)
def test_every_key_has_a_meaning_and_typical_values(section: type[BaseModel]) -> None:
    for key, field in section.model_fields.items():
        meaning, typical = reference.description(field)
        assert len(meaning) >= 3, f"{section.__name__}.{key} has no description"
        assert typical or load.sections_in(field.annotation), (
            f"{section.__name__}.{key} has no typical values"
        )


def test_the_wheel_takes_the_schema_with_the_recipes() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["configs"] == "medseg/configs"
    assert (Path(__file__).parents[2] / "configs" / load.SCHEMA).is_file()


def test_the_schema_that_ships_is_the_models() -> None:
    path = load.packaged() / load.SCHEMA
    assert path.read_text(encoding="utf-8") == reference.schema(), "python -m medseg.config.reference"


@pytest.mark.parametrize("path", PACKAGED, ids=lambda p: p.stem)
def test_a_packaged_recipe_names_the_schema_and_keeps_it(path: Path) -> None:
    assert named_schema(path) == load.packaged() / load.SCHEMA
    assert problems(as_json(yaml.safe_load(path.read_text())), SCHEMA, SCHEMA) == []


@pytest.mark.parametrize("path", PACKAGED, ids=lambda p: p.stem)
def test_a_resolved_recipe_names_the_installed_schema_and_keeps_it(tmp_path: Path, path: Path) -> None:
    load.save(load.load(str(path)), tmp_path / "recipe.yaml")
    assert named_schema(tmp_path / "recipe.yaml") == load.packaged() / load.SCHEMA
    tree = as_json(yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8")))
    assert problems(tree, SCHEMA, SCHEMA) == []
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_first_line_is_read_by_editors_whatever_the_folder(tmp_path: Path) -> None:
    for folder in ("plain", "with space", "étude_#1", "100%"):
        schema = tmp_path / folder / load.SCHEMA
        schema.parent.mkdir()
        schema.write_text("{}")
        recipe = tmp_path / "r.yaml"
        recipe.write_text(load.schema_line(schema) + "name: r\n", encoding="utf-8")
        assert named_schema(recipe).read_text() == "{}"


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("data.classes", {0: "a", 1: {"name": "b", "colour": [1, 2, 3]}}, True),
        ("data.classes", {0: "a", 1: {"nam": "b"}}, False),
        ("data.void", 255, True),
        ("data.void", [-1, 255], True),
        ("data.void", None, True),
        ("data.void", "none", False),
        ("data.label_form", {"above": 127}, True),
        ("data.label_form", 127, True),
        ("data.label_form", {"below": 1}, False),
        ("data.splits", {"train": ["a"], "val": ["b"], "test": ["c"]}, True),
        ("data.splits", [{"train": ["a"]}, {"train": ["b"]}], True),
        ("data.splits", {"folds": 5, "seed": 1}, True),
        ("data.splits", "listed", True),
        ("data.splits", "official", False),
        ("preprocess.foreground", {"above": 3}, True),
        ("preprocess.foreground", "most", False),
        ("preprocess.spacing_mm", [1, 1, 2.5], True),
        ("preprocess.spacing_mm", [1, 1], False),
        ("preprocess.spacing_mm", [1, 1, 0], False),
        ("sampling.plane", ["axial", "coronal"], True),
        ("sampling.plane", "oblique", False),
        ("sampling.class_share", 0.5, False),
        ("network.name", "monai.networks.nets:BasicUNet", True),
        ("network.name", "os:system", False),
        ("network.keywords", {"width": 24}, True),
        ("loss.name", "nope", False),
        ("loss.class_weights", [1, 2], True),
        ("predict.crf", {}, True),
        ("predict.crf", {"w9": 1}, False),
        ("predict.tile", [100, 80], True),
        ("train.epohcs", 3, False),
        ("train.batch", 0, False),
        ("zzz", 3, False),
    ],
)
def test_the_schema_accepts_what_the_models_accept(key: str, value: Any, *, right: bool) -> None:
    tree: dict[str, Any] = {"name": "small", "data": dict(SMALL["data"])}
    *section, last = key.split(".")
    (tree.setdefault(section[0], {}) if section else tree)[last] = value
    assert (problems(as_json(tree), SCHEMA, SCHEMA) == []) == right
    try:
        load.validate(tree, Path("r.yaml"))
    except RecipeError:
        assert not right
    else:
        assert right


def test_a_recipe_made_by_init_names_the_installed_schema(tmp_path: Path) -> None:
    guess = Guess(
        "patterns", {"t1": "{case}/t1.nii.gz"}, "{case}/seg.nii.gz", {0: "background", 1: "b"}, 3, 3
    )
    out = tmp_path / "mine.yaml"
    out.write_text(init_text.recipe_text(out, tmp_path, guess, USUAL), encoding="utf-8")
    assert named_schema(out) == load.packaged() / load.SCHEMA
    assert problems(as_json(yaml.safe_load(out.read_text())), SCHEMA, SCHEMA) == []
