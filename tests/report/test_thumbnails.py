"""Thumbnails: the slice with most of the label map, upright, with outlines in the classes' colours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from medseg.grid import Grid
from medseg.ingest.file_facts import measure
from medseg.report import thumbnails
from medseg.volume import Volume

RED, BLUE = (255, 0, 0), (0, 0, 255)


def volume(array: Any, affine: Any = None, unit: Any = "mm") -> Volume:
    array = array if array.ndim == 4 else array[None]
    return Volume(array, Grid(array.shape[1:], np.eye(4) if affine is None else np.asarray(affine), unit))


def drawn(image: Volume, label: Volume | None, colours: dict[int, tuple[int, int, int]]) -> Any:
    kept = thumbnails.of_image(image, measure(image)[0])
    mask = None if label is None else thumbnails.of_label(label)
    png = thumbnails.thumbnail(kept, mask, colours)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def body() -> Any:
    return np.full((20, 20, 20), 100, np.int16) + np.arange(20, dtype=np.int16)


def test_the_slice_with_most_of_the_label_is_outlined() -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[5:15, 5:15, 17:20] = 1
    label[8:10, 8:10, 9:12] = 2
    shown = drawn(volume(body()), volume(label), {1: RED, 2: BLUE})
    assert (shown == RED).all(-1).any() and not (shown == BLUE).all(-1).any()
    rows = np.flatnonzero((shown == RED).all(-1).any(1)) / shown.shape[0]
    assert 0.2 < rows.min() < 0.3 and 0.7 < rows.max() < 0.8


def test_left_and_right_are_those_of_the_patient_however_stored() -> None:
    """The patient's right is on the viewer's left, and the front is up."""
    label = np.zeros((20, 20, 20), np.uint8)
    label[14:18, 14:18] = 1  # right of the middle in RAS+ is the patient's right, and in front
    stored = drawn(volume(body()), volume(label), {1: RED})
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    other = drawn(volume(body()[::-1], flip), volume(label[::-1], flip), {1: RED})
    assert (stored == other).all()
    rows, columns = np.nonzero((stored == RED).all(-1))
    assert rows.max() < stored.shape[0] / 2 and columns.max() < stored.shape[1] / 2


def test_pixels_are_square_and_the_thickest_slices_are_shown() -> None:
    bright = np.random.default_rng(0).integers(900, 1000, (20, 30, 4)).astype(np.int16)
    bright[0, 0, 0] = 0
    rows, columns = drawn(volume(bright, np.diag([1.0, 1.0, 8.0, 1.0])), None, {}).shape[:2]
    assert rows == 150 and abs(columns - 100) <= 3


def test_without_a_fitting_label_map_the_image_is_shown_alone() -> None:
    other = volume(np.ones((7, 20, 20), np.uint8))
    assert not (drawn(volume(body()), other, {1: RED}) == RED).all(-1).any()


def test_an_image_keeps_its_colours_and_shape() -> None:
    photo = np.zeros((3, 30, 60, 1), np.uint8)
    photo[1] = 200
    mask = np.zeros((1, 30, 60, 1), np.uint8)
    mask[0, 10:20, 20:40] = 1
    shown = drawn(volume(photo, unit="px"), volume(mask, unit="px"), {1: RED})
    assert shown.shape == (75, 150, 3)
    assert np.abs(shown[2, 2].astype(int) - (0, 200, 0)).max() <= 8
    assert (shown == RED).all(-1).any()


def test_dark_images_are_brightened() -> None:
    photo = np.random.default_rng(0).integers(0, 30, (3, 30, 30, 1)).astype(np.uint8)
    assert drawn(volume(photo, unit="px"), None, {}).max() > 150


def test_masks_of_one_image_lie_over_each_other() -> None:
    first, second = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8, 1), np.uint8)
    first[0, :4], second[0, 2:6] = 1, 1
    kept = [thumbnails.of_label(volume(mask, unit="px")) for mask in (first, second)]
    together = thumbnails.merged(kept).at(0)
    assert [together[row, 0] for row in (0, 70, 140)] == [1, 2, 0]
    assert set(np.unique(thumbnails.merged(kept, 255).at(0)).tolist()) == {0, 255}
    assert thumbnails.merged(kept).weights == (64,)
