"""The ladder of corruptions: fixed by its seed, labels move with the geometry and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.grid import Grid
from medseg.synth.corruptions import LADDER, Step, corrupt
from medseg.volume import Volume

GREY = {"noise", "bias field", "blur", "contrast", "thick slices", "missing part"}


@pytest.fixture
def scan() -> tuple[Volume, Volume]:
    """A (2, 20, 24, 16) scan of a box with a bright core, and its label map."""
    label = np.zeros((1, 20, 24, 16), np.uint8)
    label[0, 4:16, 4:20, 3:13] = 1
    label[0, 8:12, 8:16, 6:10] = 2
    grey = np.random.default_rng(0).normal(100, 5, label.shape[1:]) * (label[0] > 0) * label[0]
    grid = Grid((20, 24, 16), np.diag([1.0, 1.0, 2.0, 1.0]))
    return Volume(np.stack([grey, 3 * grey]).astype(np.int16), grid), Volume(label, grid)


@pytest.mark.parametrize("step", LADDER, ids=str)
def test_a_step_is_the_same_for_the_same_seed_and_changes_the_scan(
    scan: tuple[Volume, Volume], step: Step
) -> None:
    image, label = scan
    before = image.array.copy(), label.array.copy()
    once, again = corrupt(image, label, step, 3), corrupt(image, label, step, 3)
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
        assert one.grid.shape == one.array.shape[1:]
    assert np.isfinite(once[0].array).all()
    assert once[0].array.shape != image.array.shape or not np.array_equal(once[0].array, image.array)
    assert set(np.unique(once[1].array)) <= {0, 1, 2} and once[1].array.dtype == np.uint8
    np.testing.assert_array_equal(before[0], image.array)  # the inputs are left alone
    np.testing.assert_array_equal(before[1], label.array)
    assert (step.kind in GREY) == np.array_equal(once[1].array, label.array)


def test_inverted_contrast_swaps_bright_and_dark_inside_the_foreground(scan: tuple[Volume, Volume]) -> None:
    image, label = scan
    inverted, _ = corrupt(image, label, Step("contrast", -1.0), 0)
    inside, core = label.array[0] == 1, label.array[0] == 2
    assert image.array[0][core].mean() > image.array[0][inside].mean()
    assert inverted.array[0][core].mean() < inverted.array[0][inside].mean()
    np.testing.assert_array_equal(inverted.array[0][label.array[0] == 0], 0)


def test_swapped_axes_swap_both_arrays_and_keep_the_header(scan: tuple[Volume, Volume]) -> None:
    image, label = scan
    swapped, moved = corrupt(image, label, Step("swapped axes", 0.0), 0)
    assert swapped.array.shape == (2, 20, 16, 24)
    np.testing.assert_array_equal(swapped.array, image.array.transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(moved.array, label.array.transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(swapped.grid.affine, image.grid.affine)


def test_a_rotation_turns_about_the_centre_in_mm() -> None:
    label = np.zeros((1, 21, 21, 11), np.uint8)  # 21 × 21 × 22 mm
    label[0, 3:18, 9:12, 4:7] = 1  # 15 × 3 × 6 mm
    grid = Grid((21, 21, 11), np.diag([1.0, 1.0, 2.0, 1.0]))
    extents = set()
    for seed in range(12):
        _, turned = corrupt(
            Volume(label.astype(np.float32), grid), Volume(label, grid), Step("rotation", 90), seed
        )
        hits = np.argwhere(turned.array[0])
        extents.add(tuple(np.round((np.ptp(hits, axis=0) + 1) * (1, 1, 2)).astype(int)))
    assert {(3, 15, 6), (15, 6, 4)} <= extents or {(3, 15, 6)} <= extents
    assert all(max(extent) in range(13, 18) for extent in extents)  # nothing is stretched by the voxels


def test_a_missing_part_is_missing_from_the_scan_alone(scan: tuple[Volume, Volume]) -> None:
    image, label = scan
    cut, truth = corrupt(image, label, Step("missing part", 0.6), 1)
    np.testing.assert_array_equal(truth.array, label.array)
    left = np.count_nonzero(cut.array[0]) / np.count_nonzero(image.array[0])
    assert 0.2 < left < 0.6


def test_an_unknown_kind_is_refused(scan: tuple[Volume, Volume]) -> None:
    with pytest.raises(KeyError):
        corrupt(*scan, Step("rust", 1.0), 0)
