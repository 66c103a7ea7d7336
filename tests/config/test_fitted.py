"""Rules that fit a recipe: each by itself, and all together for any fingerprint and any machine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import networks
from medseg.classes import ClassList
from medseg.config.fitted import geometry, plan, training
from medseg.config.fitted.choice import Choices
from medseg.config.fitted.geometry import Slices
from medseg.config.fitted.training import Budget, Candidate
from medseg.config.load import validate
from medseg.grid import Plane
from medseg.preprocess.fingerprint import CaseFingerprint, Fingerprint

TWO = ClassList.from_names({0: "background", 1: "lesion"}, {}, ())
CPU = Budget(1800.0, "cpu", 8e9)


def case(shape: tuple[int, int, int] = (160, 160, 160), **changes: Any) -> CaseFingerprint:
    values: dict[str, Any] = {
        "channels": 1,
        "shape": shape,
        "cropped": shape,
        "spacing": (1.0, 1.0, 1.0),
        "label_outside": 0,
        "fills": True,
        "lowest": 0.0,
        "voxels": {0: math.prod(shape) - 100, 1: 100},
        "means": {0: -0.5, 1: 1.0},
    }
    return CaseFingerprint(**{**values, **changes})


def of(*cases: CaseFingerprint, n_train: int = 20, classes: ClassList = TWO, unit: Any = "mm") -> Fingerprint:
    return Fingerprint(cases or (case(),), n_train, 4, classes, unit)


def speed(pixels_per_second: float) -> training.Measure:
    """A machine whose time grows with the pixels and with the width by a power of 1.5."""
    return lambda one: one.pixels * (one.width / 16) ** 1.5 / pixels_per_second


def chosen(fingerprint: Fingerprint, budget: Budget = CPU, pixels_per_second: float = 8e5) -> Choices:
    return plan.choose(fingerprint, budget, speed(pixels_per_second))


ALL_PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((0.94, 1.5, 0.94), (160, 90, 150), ("coronal",)),
        ((3.0, 0.5, 0.5), (20, 320, 320), ("sagittal",)),
        ((0.5, 0.5, 5.0), (400, 400, 24), ("axial",)),
        ((1.0, 1.0, 1.0), (140, 175, 145), ALL_PLANES),
        ((1.0, 1.1, 1.0), (35, 51, 35), ALL_PLANES),
        ((1.0, 1.0, 1.0), (60, 175, 145), ("sagittal",)),
        ((1.0, 1.0, 1.0), (145, 175, 60), ("axial",)),
    ],
)
def test_the_plane_has_the_finest_pixels_and_cubes_have_three(
    spacing: geometry.Triple, shape: tuple[int, int, int], expected: tuple[Plane, ...]
) -> None:
    assert geometry.planes(spacing, shape)[0] == expected


@pytest.mark.parametrize(
    ("through", "number", "expected"), [(1, 90, 5), (1.5, 90, 3), (8, 90, 1), (1, 4, 3), (1, 1, 1)]
)
def test_input_slices_by_their_distance(through: float, number: int, expected: int) -> None:
    slices = Slices(("axial",), (90, 90), 90, number, 90 * 90 * number)
    assert geometry.depth((1.0, 1.0, through), slices).value == expected


def test_windows_and_time_hold_for_the_slices_of_all_planes() -> None:
    cubes = chosen(of(case((50, 36, 70), voxels={0: 100_000, 1: 26_000})))
    assert cubes["sampling.plane"].value == ["sagittal", "coronal", "axial"]
    assert cubes["sampling.window"].value == [48, 72]  # 36 × 70, 50 × 70 and 50 × 36 px
    assert cubes["network.keywords.depth"].value == 3  # of 36 px, the shortest side
    assert cubes["train.augment.flip"].value == ["left_right"]  # in two of the planes


def test_scans_of_different_voxel_sizes_are_resampled_to_the_median() -> None:
    alike = of(case(spacing=(0.9, 1.5, 0.9)), case(spacing=(1.0, 1.5, 1.0)))
    assert "preprocess.spacing_mm" not in chosen(alike)
    sizes = [case(spacing=(side, side, 3.0)) for side in (0.5, 0.8, 1.0)]
    assert chosen(of(*sizes))["preprocess.spacing_mm"].value == [0.8, 0.8, 3.0]


def test_crop_and_foreground_follow_the_surroundings() -> None:
    full = chosen(of(case(), case(fills=False)))
    assert (full["preprocess.crop"].value, full["preprocess.foreground"].value) == (False, "all")
    outside = chosen(of(case(), case(label_outside=3)))
    assert (outside["preprocess.crop"].value, outside["preprocess.foreground"].value) == (False, "auto")
    ct = chosen(of(case(lowest=-1024.0)))
    assert ct["preprocess.foreground"].value == {"above": -500}
    assert chosen(of())["preprocess.crop"].value is True


def test_images_are_made_coarser_where_the_time_is_short() -> None:
    image = of(case((360, 480, 1)), n_train=367, unit="px")
    assert "preprocess.spacing_px" not in chosen(image)
    assert chosen(image, Budget(120, "cpu", None))["preprocess.spacing_px"].value == [3, 3]
    assert geometry.coarseness((100, 100), 10**6, 1.0) == 1
    assert geometry.coarseness((4000, 4000), 10**6, 1.0) == geometry.COARSEST


def test_the_network_is_the_widest_that_has_enough_steps() -> None:
    widths = [chosen(of(), Budget(60 * m, "cpu", None))["network.keywords.width"].value for m in (1, 12, 600)]
    assert widths == [16, 24, 64]
    long, short = chosen(of()), chosen(of(), Budget(60, "cpu", None))
    assert (long["train.batch"].value, short["train.batch"].value) == (32, 8)


def test_a_batch_fits_into_the_memory() -> None:
    assert training.batch((128, 128), 16, Budget(1, "cpu", None)) == 8
    assert training.batch((128, 128), 16, Budget(1, "cpu", 1e8)) == 2
    assert training.batch((16, 16), 16, Budget(1, "gpu", None)) == training.MOST_PATCHES


def test_whole_images_with_rare_classes_have_weights() -> None:
    image = case((120, 160, 1))
    assert chosen(of(image, unit="px"))["loss.class_weights"].value == "median_frequency"
    even = case((120, 160, 1), voxels={0: 9600, 1: 9600})
    assert "loss.class_weights" not in chosen(of(even, unit="px"))
    assert "loss.class_weights" not in chosen(of())


def test_windows_of_scans_with_small_structures_are_small() -> None:
    large = case(voxels={0: 160**3 - 160**2 * 8, 1: 160**2 * 8})
    assert chosen(of())["sampling.window"].value == [64, 64]
    assert chosen(of(large))["sampling.window"].value == [128, 128]
    assert chosen(of(large), Budget(1800, "gpu", None))["sampling.window"].value == [160, 160]
    assert chosen(of(case((300, 200, 1)), unit="px"))["sampling.window"].value == [256, 192]


def test_flips_keep_left_from_right_where_names_tell_them() -> None:
    sides = ClassList.from_names({0: "background", 1: "hippocampus_left"}, {}, ())
    flip = "train.augment.flip"
    assert chosen(of(classes=sides))[flip].value == []
    assert chosen(of(case((150, 170, 130))))[flip].value == ["left_right"]
    assert chosen(of(case(spacing=(3.0, 1.0, 1.0))))[flip].value == []  # sagittal
    assert chosen(of(case((120, 160, 1)), unit="px"))[flip].value == ["horizontal"]


def test_augmentation_is_mild_where_training_sees_its_cases_hardly_twice() -> None:
    few, many = chosen(of(n_train=5)), chosen(of(n_train=100))
    short = chosen(of(n_train=5), Budget(10, "cpu", None))
    degrees = [one["train.augment.rotate_degrees"].value for one in (few, many, short)]
    assert degrees == [15, 5, 5]
    spread = of(case(means={0: 0.0, 1: 0.0}), case(means={0: 0.0, 1: 0.5}))
    assert chosen(spread)["train.augment.brightness"].value == 0.25


@pytest.mark.parametrize(
    ("subjects", "listed", "expected"),
    [
        (1, False, {"folds": 1, "val": 0, "test": 0, "seed": 0}),
        (2, False, {"folds": 1, "val": 0, "test": 0.2, "seed": 0}),
        (9, False, {"folds": 1, "val": 0.2, "test": 0.2, "seed": 0}),
        (9, True, "listed"),
    ],
)
def test_splits_by_the_number_of_subjects(subjects: int, listed: bool, expected: Any) -> None:
    assert plan.splits(subjects, listed=listed).value == expected


sides = st.integers(1, 700)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(sides, sides, sides),
    spacing=st.tuples(*[st.floats(0.2, 10.0)] * 3),
    images=st.booleans(),
    minutes=st.floats(0.1, 5000),
    device=st.sampled_from(["cpu", "gpu"]),
    memory=st.sampled_from([None, 1e8, 8e10]),
    pixels_per_second=st.floats(1e4, 1e9),
    n_train=st.integers(1, 5000),
)
def test_whatever_the_data_and_the_machine_the_recipe_is_valid_and_fills_the_time(
    shape: tuple[int, int, int],
    spacing: geometry.Triple,
    images: bool,
    minutes: float,
    device: str,
    memory: float | None,
    pixels_per_second: float,
    n_train: int,
) -> None:
    one = case((*shape[:2], 1)) if images else case(shape, spacing=spacing)
    fingerprint = of(one, n_train=n_train, unit="px" if images else "mm")
    budget, measure = Budget(60 * minutes, device, memory), speed(pixels_per_second)
    choices = plan.choose(fingerprint, budget, measure)
    tree: dict[str, Any] = {"name": "x", "data": {"classes": {0: "background", 1: "lesion"}}}
    if images:
        tree["data"]["channels"] = {"grey": "{case}.png"}
    for key, choice in choices.items():
        *sections, last = key.split(".")
        part = tree
        for section in sections:
            part = part.setdefault(section, {})
        part[last] = choice.value
        assert choice.reason and "\n" not in choice.reason
    recipe = validate(tree, Path("x.yaml"))
    keywords = recipe.network.keywords
    with torch.device("meta"):
        network = networks.build("unet", recipe.sampling.depth, 2, **keywords)
    assert all(network.size_from(side) == side for side in recipe.sampling.window)
    window, train = recipe.sampling.window, recipe.train
    candidate = Candidate(keywords["width"], keywords["depth"], window, recipe.sampling.depth, train.batch)
    if not images:
        seconds = measure(candidate) * train.epochs * train.steps_per_epoch
        assert seconds <= budget.seconds or train.epochs * train.steps_per_epoch == 1
    assert train.batch >= 2 and train.epochs >= 1 and train.validate_every <= train.epochs
