"""`data.codes`: codes of classes in recipes, those that ship, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.classes import ClassList
from medseg.config import class_file, load
from medseg.config.load import RecipeError
from medseg.io.dicom.codes import SCHEME, codes_of
from medseg.model.description import Description
from pipelines.fold import model_spec
from tests.helpers.model_folders import describe

RECIPES = sorted(path.stem for path in class_file.packaged().glob("*.yaml"))

STREETS_AND_THINGS = {
    "ade20k",
    "apolloscape",
    "bdd100k",
    "camvid",
    "cityscapes",
    "cocostuff",
    "kitti",
    "mapillary",
}
OF_IMAGES = {*STREETS_AND_THINGS, "ctc", "dsb2018", "isbi2012", "pascal", "polyps", "voc"}
"""Sets of PNG, JPEG and TIFF images, which no DICOM series is segmented with: their classes have no codes."""

TYPE = {"value": "5366008", "meaning": "Hippocampus"}


def _recipe(tmp_path: Path, codes: Any, **data: Any) -> Any:
    classes = {0: "background", 1: "anterior", 2: "csf"}
    tree: dict[str, Any] = {"name": "r", "data": {"label": "x", "classes": classes, "codes": codes, **data}}
    if "regions" in data:
        tree["loss"] = {"name": "bce_dice"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    return load.load(str(tmp_path / "r.yaml"), [])


@pytest.mark.parametrize("name", RECIPES)
def test_every_class_of_a_shipped_recipe_of_scans_has_a_standard_code(name: str) -> None:
    recipe = load.load(name, [])
    classes = recipe.data.class_list()
    labelled = () if recipe.reconstructs else classes.foreground
    schemes = {codes_of(classes.classes[index]).type.scheme for index in labelled}
    of_images = name.split("_")[0] in OF_IMAGES
    assert of_images or SCHEME not in schemes


def test_the_hippocampus_and_its_parts(tmp_path: Path) -> None:
    classes = load.load("hippocampus_quick", []).data.class_list()
    words = [str(codes_of(classes.classes[index])) for index in classes.foreground]
    assert words == [
        "Hippocampus (SCT 5366008), Anterior (SCT 255549009)",
        "Hippocampus (SCT 5366008), Posterior (SCT 255551008)",
    ]


def test_codes_reach_the_model_folder_and_old_ones_without_load(tmp_path: Path) -> None:
    recipe = _recipe(
        tmp_path, {"anterior": {"type": TYPE, "modifier": {"value": 255549009, "meaning": "Anterior"}}}
    )
    described = model_spec.described(recipe, {})
    read = Description.model_validate_json(described.model_dump_json())
    own = read.class_list().classes[1].codes
    assert own is not None and own.modifier is not None and own.modifier.value == "255549009"
    assert read.class_list().classes[2].codes is None
    assert describe().class_list().classes[1].codes is None


def test_masks_have_codes_too(tmp_path: Path) -> None:
    classes = _recipe(
        tmp_path, {"whole": {"type": TYPE}}, regions={"whole": [1, 2], "core": [1]}
    ).data.class_list()
    whole = classes.classes[classes.names.index("whole")]
    assert classes.multilabel and str(whole.codes) == "Hippocampus (SCT 5366008)"


@pytest.mark.parametrize(
    ("codes", "line"),
    [
        (
            {"anterior": {"type": {**TYPE, "value": 5366009}}},
            "data.codes.anterior.type: '5366009' is no SNOMED CT",
        ),
        ({"anterior": {"type": {**TYPE, "scheme": "a b"}}}, "data.codes.anterior.type: coding scheme 'a b'"),
        ({"anterior": {"type": {**TYPE, "meaning": ""}}}, "data.codes.anterior.type: code meaning ''"),
        ({"anterior": {}}, "data.codes.anterior.type"),
        ({"anterior": {"type": TYPE, "modifer": TYPE}}, "did you mean modifier?"),
        (
            {"head": {"type": TYPE}},
            "data.codes: 'head' is no class of the foreground; name one of anterior, csf",
        ),
    ],
)
def test_wrong_codes_are_one_line_each(tmp_path: Path, codes: Any, line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _recipe(tmp_path, codes)
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 1 and line in lines[0]


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"type": {"value": "65216002", "meaning": "CSF"}}, "no SNOMED CT identifier"),
        ({"sort": {"value": "65216001", "meaning": "CSF"}}, "keys meaning, sort, value"),
        ({}, "give a type"),
        ({"type": "csf"}, "type"),
    ],
)
def test_rows_of_a_model_with_damaged_codes_are_refused(codes: Any, said: str) -> None:
    rows = ClassList.from_names({0: "background", 1: "csf"}).to_json()
    rows[1]["codes"] = codes
    with pytest.raises(ValueError, match=said):
        describe(classes=tuple(rows))
