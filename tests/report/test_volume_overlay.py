from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medseg.classes import VOID, ClassList
from medseg.grid import Grid
from medseg.report import volume_overlay
from medseg.volume import Volume

CLASSES = ClassList.from_names({0: "background", 1: "CSF", 2: "GM"})
SHAPE = (24, 30, 20)


def head(affine=None) -> Volume:
    generator = np.random.default_rng(0)
    grid = np.indices(SHAPE)
    inside = sum(((g - n / 2) / (n / 2.2)) ** 2 for g, n in zip(grid, SHAPE, strict=True)) < 1
    array = np.where(inside, 80 + generator.normal(0, 5, SHAPE), 0).astype(np.float32)
    return Volume(array[None], Grid(SHAPE, np.diag([1.0, 1.0, 1.5, 1.0]) if affine is None else affine))


def labels(start=(8, 8, 8), index=1) -> np.ndarray:
    out = np.zeros(SHAPE, dtype=np.uint8)
    out[tuple(slice(s, s + 6) for s in start)] = index
    return out


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


def share_of(png: bytes, colour: tuple[int, int, int], within: int = 12) -> float:
    return float((np.abs(pixels(png) - colour).max(axis=2) <= within).mean())


def test_errors_by_hand():
    truth = np.array([0, 0, 1, 1, 1, 2, VOID], dtype=np.uint8)
    prediction = np.array([0, 1, 0, 1, 2, 2, 1], dtype=np.uint8)
    assert volume_overlay.errors(truth, prediction).tolist() == [0, 1, 2, 0, 3, 0, 0]


def test_a_scored_case_has_four_columns_and_its_errors_in_their_colours():
    right = volume_overlay.overlay(head(), CLASSES, truth=labels(), prediction=labels())
    wrong = volume_overlay.overlay(head(), CLASSES, truth=labels(), prediction=labels((10, 8, 8)))
    assert pixels(right).shape == pixels(wrong).shape
    for name in ("false positive", "false negative"):
        assert (
            share_of(wrong, volume_overlay.ERRORS[name])
            > share_of(right, volume_overlay.ERRORS[name]) + 0.001
        )
    assert share_of(wrong, volume_overlay.ERRORS["wrong class"]) == share_of(
        right, volume_overlay.ERRORS["wrong class"]
    )


def test_columns_follow_what_is_given():
    def width(**given) -> int:
        return pixels(volume_overlay.overlay(head(), CLASSES, **given)).shape[1]

    confidence = np.full(SHAPE, 0.5, dtype=np.float16)
    one = width()
    panel = width(prediction=labels()) - one
    assert width(truth=labels()) == one + panel
    assert width(prediction=labels(), confidence=confidence) == pytest.approx(one + 2 * panel, abs=1)
    assert width(truth=labels(), prediction=labels(), confidence=confidence) == pytest.approx(
        one + 3 * panel, abs=1
    )


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_the_picture_does_not_depend_on_how_the_array_lies(axes, signs):
    image, truth, guess = head(), labels(), labels((10, 8, 8), 2)
    expected = volume_overlay.overlay(image, CLASSES, truth=truth, prediction=guess)

    def turn(array):
        turned = array.transpose(axes)
        return turned[tuple(slice(None, None, sign) for sign in signs)]

    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, column] = sign * image.grid.spacing[axis]
    array = turn(image.array[0])
    turned = Volume(array[None], Grid(array.shape, affine))
    assert volume_overlay.overlay(turned, CLASSES, truth=turn(truth), prediction=turn(guess)) == expected


def test_right_is_left_and_anterior_is_up():
    # A bright block at the patient's right (high x), anterior (high y), superior (high z).
    array = np.zeros((20, 20, 20), dtype=np.float32)
    array[1, 1, 1] = array[18, 18, 18] = 1.0  # something at both ends, so that the window holds all
    array[12:18, 12:18, 12:18] = 100.0
    volume = Volume(array[None], Grid(array.shape, np.eye(4)))
    cut = volume_overlay._cut(volume_overlay._shown(volume, 0, None, None, None, {}), "axial")
    bright = np.argwhere(volume_overlay._upright(array, "axial", cut.index) == 100.0)
    assert bright.max() < 10  # upper left
    assert volume_overlay._upright(array, "coronal", 14)[2:8, 2:8].min() == 100.0
    assert volume_overlay._upright(array, "sagittal", 14)[2:8, 2:8].min() == 100.0


def test_voxels_keep_their_proportions():
    tall = head(np.diag([1.0, 1.0, 4.0, 1.0]))
    flat = head(np.diag([1.0, 1.0, 0.5, 1.0]))
    heights = [pixels(volume_overlay.overlay(v, CLASSES, prediction=labels())).shape[0] for v in (tall, flat)]
    assert heights[0] > heights[1]


def test_the_slice_with_most_foreground_is_cut():
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[5, 10, 3] = 1
    truth[6:12, 12:18, 14] = 2
    shown = volume_overlay._shown(head(), 0, truth, None, None, {})
    assert volume_overlay._cut(shown, "axial").index == 14


def test_a_constant_image_and_an_empty_prediction_are_drawn():
    flat = Volume(np.zeros((1, *SHAPE), dtype=np.int16), Grid(SHAPE, np.eye(4)))
    empty = np.zeros(SHAPE, dtype=np.uint8)
    assert volume_overlay.overlay(flat, CLASSES, prediction=empty).startswith(b"\x89PNG")


def test_void_is_shown_but_is_no_error():
    truth = labels()
    truth[:, :4] = VOID
    drawn = volume_overlay.overlay(head(), CLASSES, truth=truth, prediction=labels())
    assert share_of(drawn, volume_overlay.ERRORS["wrong class"]) < 0.005  # its legend alone


def test_the_picture_is_small_and_always_the_same():
    noise = np.random.default_rng(1).normal(100, 20, (1, 160, 180, 150)).astype(np.float32)
    volume = Volume(noise, Grid(noise.shape[1:], np.eye(4)))
    truth = np.zeros(noise.shape[1:], dtype=np.uint8)
    truth[40:120, 40:120, 40:120] = 1
    first = volume_overlay.overlay(volume, CLASSES, truth=truth, prediction=truth)
    assert len(first) < 400_000  # noise does not compress; a brain takes about 120 kB
    assert volume_overlay.overlay(volume, CLASSES, truth=truth, prediction=truth) == first


def test_pyplot_is_not_touched():
    import sys

    volume_overlay.overlay(head(), CLASSES, truth=labels())
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
