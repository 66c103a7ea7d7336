"""Keys of the training section: flips by anatomy, artefacts, and a description of every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import load
from medseg.config.load import RecipeError
from medseg.config.phases import Phase, Plateau, Size
from medseg.config.recipe import Recipe
from medseg.config.training import Augment, Train

SCANS = {
    "channels": {"t1": "{case}.nii.gz"},
    "label": "{case}_seg.nii.gz",
    "classes": {0: "background", 1: "gm"},
}


def read(folder: Path, flip: Any, plane: Any = "axial", **data: Any) -> Recipe:
    value = {
        "name": "flips",
        "data": {"path": "x", **SCANS, **data},
        "sampling": {"plane": plane},
        "train": {"augment": {"flip": flip}},
    }
    (folder / "flips.yaml").write_text(yaml.safe_dump(value))
    return load.load(str(folder / "flips.yaml"))


IMAGES = {"channels": {"em": "{case}.png"}, "label": "masks/{case}.png"}


@pytest.mark.parametrize(
    ("flip", "plane", "data"),
    [
        (["left_right"], "axial", {}),
        (["left_right", "anterior_posterior"], "axial", {}),
        (["superior_inferior"], "coronal", {}),
        (["anterior_posterior", "superior_inferior"], "sagittal", {}),
        (["left_right", "superior_inferior"], ["axial", "coronal"], {}),
        (["left_right"], ["axial", "sagittal"], {}),
        (["horizontal", "vertical"], "axial", IMAGES),
        (["horizontal"], "axial", {"channels": {}}),
        (["left_right"], "axial", {"channels": {}, "layout": "decathlon"}),
    ],
)
def test_flips_that_lie_in_a_plane(tmp_path: Path, flip: list[str], plane: Any, data: dict[str, Any]) -> None:
    assert read(tmp_path, flip, plane, **data).train.augment.flip == tuple(flip)


@pytest.mark.parametrize(
    ("flip", "plane", "data", "told"),
    [
        (["h"], "axial", {}, "write left_right for axial and coronal slices of scans, anterior_posterior"),
        (["left_right", "w"], "axial", {}, "'w' names an axis of the array"),
        ("h", "axial", {}, "vertical for images"),
        (
            ["superior_inferior"],
            "axial",
            {},
            "superior_inferior runs across the axial slices; use left_right or anterior_posterior",
        ),
        (["left_right"], "sagittal", {}, "use anterior_posterior or superior_inferior"),
        (["horizontal"], "axial", {}, "horizontal of scans; for scans use left_right"),
        (["left_right"], "axial", IMAGES, "left_right of images; for images use horizontal, vertical"),
        (
            ["left_right"],
            "axial",
            {**IMAGES, "channels": {}, "layout": "camvid"},
            "for images use horizontal",
        ),
        (["left_right", "horizontal"], "axial", {}, "for scans, or horizontal, vertical for images"),
        (["sideways"], "axial", {}, "'left_right', 'anterior_posterior'"),
    ],
)
def test_flips_that_cannot_be_are_refused_with_the_words_to_use(
    tmp_path: Path, flip: Any, plane: Any, data: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        read(tmp_path, flip, plane, **data)
    problems = [str(problem) for problem in refused.value.problems]
    assert any(told in problem and "train.augment.flip" in problem for problem in problems), problems


def test_trainings_from_before_there_were_artefacts_are_still_up_to_date() -> None:
    assert Augment().used().keys() == {
        *("flip", "rotate_degrees", "scale", "shift_px", "contrast", "brightness", "gamma", "noise"),
        "elastic_px",
    }
    assert Augment(gibbs=0.5).used()["gibbs"] == 0.5


@pytest.mark.parametrize("section", [Augment, Phase, Plateau, Size, Train])
def test_every_key_says_what_it_means(section: type[Augment]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
