"""Flips are named by anatomy, or by an image's directions, and must fit the data and the planes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medseg.config import load
from medseg.config.load import RecipeError


def flip_problems(flip: list[str], plane: Any = "axial", **data: Any) -> list[str]:
    tree = {
        "name": "r",
        "data": {"classes": {0: "background", 1: "lesion"}, **data},
        "sampling": {"plane": plane},
        "train": {"augment": {"flip": flip}},
    }
    try:
        load.validate(tree, Path("r.yaml"))
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


SCANS = {"channels": {"t1": "{case}.nii.gz"}}
IMAGES = {"channels": {"em": "{case}.png"}}


@pytest.mark.parametrize(
    ("flip", "plane", "data"),
    [
        (["left_right", "anterior_posterior"], "axial", SCANS),
        (["superior_inferior"], "coronal", SCANS),
        (["left_right"], ["axial", "sagittal"], SCANS),
        (["horizontal", "vertical"], "axial", IMAGES),
        (["left_right"], "axial", {}),
        (["horizontal"], "axial", {"layout": "camvid"}),
    ],
)
def test_flips_that_fit_are_taken(flip: list[str], plane: Any, data: dict[str, Any]) -> None:
    assert flip_problems(flip, plane, **data) == []


@pytest.mark.parametrize(
    ("flip", "plane", "data", "words"),
    [
        (["superior_inferior"], "axial", SCANS, "runs across the axial slices; use left_right or anterior"),
        (["left_right"], "sagittal", SCANS, "runs across the sagittal slices"),
        (["horizontal"], "axial", SCANS, "horizontal of scans; for scans use left_right"),
        (["left_right"], "axial", IMAGES, "left_right of images; for images use horizontal, vertical"),
        (["left_right", "vertical"], "axial", {}, "for scans, or horizontal, vertical for images"),
        (["h"], "axial", SCANS, "'h' names an axis of the array; write left_right"),
        (["diagonal"], "axial", SCANS, "input should be 'left_right'"),
    ],
)
def test_flips_that_do_not_fit_are_one_line(
    flip: list[str], plane: Any, data: dict[str, Any], words: str
) -> None:
    (line,) = flip_problems(flip, plane, **data)
    assert words in line
    assert "r.yaml: train.augment.flip" in line


@pytest.mark.parametrize(
    ("plane", "words"), [("sagittal", "no sagittal slice"), (["sagittal", "axial"], None), ("axial", None)]
)
def test_predictions_are_mirrored_where_left_and_right_lie_in_a_slice(plane: Any, words: str | None) -> None:
    data = {"classes": {0: "background", 1: "lesion"}, **SCANS}
    tree = {"name": "r", "data": data, "sampling": {"plane": plane}, "predict": {"flip": True}}
    if words is None:
        load.validate(tree, Path("r.yaml"))
        return
    with pytest.raises(RecipeError) as caught:
        load.validate(tree, Path("r.yaml"))
    assert [words in str(problem) for problem in caught.value.problems] == [True]
