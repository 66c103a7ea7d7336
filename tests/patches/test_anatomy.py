"""Flips by anatomy, and moves that keep shapes in mm where pixels are not square."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.grid import Array, Grid, Plane
from medseg.patches import slabs
from medseg.patches.augment import Augmentation, Augmenter, AugmentParams, draw, field_size, move
from medseg.patches.sampler import PatchSampler
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase

SHAPE = (5, 6, 7)


def grid(spacing: tuple[float, float, float], shape: tuple[int, int, int] = SHAPE) -> Grid:
    return Grid(shape, np.diag([*spacing, 1.0]))


def case(array: Array, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> PreprocessedCase:
    """A case of one channel whose label is its image."""
    volume = NormalizedVolume(array[None], grid(spacing, array.shape), Normalization((0.0,), (1.0,)))
    positions = np.empty((0, 4), np.int16)
    return PreprocessedCase("a", "a", volume, array, positions, Record.__new__(Record), {}, {})


@pytest.mark.parametrize(
    ("plane", "rows", "columns"),
    [
        ("axial", "left_right", "anterior_posterior"),
        ("coronal", "left_right", "superior_inferior"),
        ("sagittal", "anterior_posterior", "superior_inferior"),
    ],
)
def test_each_plane_shows_two_directions(plane: Plane, rows: slabs.Flip, columns: slabs.Flip) -> None:
    assert slabs.flip_axis(rows, plane) == "h"
    assert slabs.flip_axis(columns, plane) == "w"
    (across,) = set(slabs.SCAN_FLIPS) - {rows, columns}
    assert slabs.flip_axis(across, plane) is None


def test_images_are_mirrored_along_their_rows_and_columns() -> None:
    assert slabs.flip_axis("vertical", "axial") == "h"
    assert slabs.flip_axis("horizontal", "axial") == "w"


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("flip", slabs.SCAN_FLIPS)
def test_a_flip_reverses_its_axis_of_the_volume_in_every_plane(plane: Plane, flip: slabs.Flip) -> None:
    """Windows as large as the slice: those that are mirrored are slices of the mirrored volume."""
    array = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
    size = slabs.slice_shape(SHAPE, plane)
    augmenter = Augmenter(Augmentation(flip=(flip,)), size, 20, 1, (plane,))
    sampler = PatchSampler([case(array)], plane, 1, size, 20, 1)
    patches, labels = augmenter(*map(torch.from_numpy, sampler(0)), 0)
    mirrored = slabs.plane_view(np.flip(array, slabs.FLIP_AXIS[flip]), plane)
    plain, seen = slabs.plane_view(array, plane), set()
    for place, patch, label in zip(sampler.places(0), patches, labels, strict=True):
        turned = not np.array_equal(patch[0], plain[place.slice])
        np.testing.assert_array_equal(patch[0], (mirrored if turned else plain)[place.slice])
        np.testing.assert_array_equal(label, patch[0])
        seen.add(turned)
    assert seen == ({True, False} if slabs.flip_axis(flip, plane) else {False})


def test_of_several_planes_each_window_is_mirrored_in_its_own() -> None:
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    array = np.arange(6**3, dtype=np.uint8).reshape(6, 6, 6)
    augmenter = Augmenter(Augmentation(flip=("superior_inferior",)), (6, 6), 60, 1, planes)
    assert augmenter.placed
    sampler = PatchSampler([case(array)], planes, 1, (6, 6), 60, 1, placed=augmenter.placed)
    patches, labels, placement = map(torch.from_numpy, sampler(0))
    out = augmenter(patches, labels, 0, slice(None), placement)[0]
    share = augmenter(patches[1::2], labels[1::2], 0, slice(1, None, 2), placement[1::2])[0]
    assert torch.equal(share, out[1::2])
    turned: dict[Plane, set[bool]] = {plane: set() for plane in planes}
    for place, patch in zip(sampler.places(0), out, strict=True):
        plain = slabs.plane_view(array, place.plane)[place.slice]
        turned[place.plane].add(not np.array_equal(patch[0], plain))
        assert np.array_equal(patch[0], plain) or np.array_equal(patch[0], plain[:, ::-1])
    assert turned == {"axial": {False}, "coronal": {True, False}, "sagittal": {True, False}}


def test_pixels_are_measured_in_units_of_their_shorter_side() -> None:
    voxels = grid((1.0, 1.5, 3.0))
    assert slabs.pixel_shape(voxels, "axial") == (1.0, 1.5)
    assert slabs.pixel_shape(voxels, "coronal") == (1.0, 3.0)
    assert slabs.pixel_shape(voxels, "sagittal") == (1.0, 2.0)
    assert slabs.pixel_shape(grid((2.0, 1.0, 1.0)), "axial") == (2.0, 1.0)
    assert slabs.pixel_shape(grid((0.9375, 0.93751, 1.0)), "axial") == (1.0, 1.0)  # rounded in the affine


def nothing(pixel: tuple[float, float], **changes: Array) -> AugmentParams:
    draws = draw(Augmentation(), 1, np.random.default_rng(0))
    return replace(draws, pixel=np.array([pixel]), **changes)


def disc(size: tuple[int, int], pixel: tuple[float, float], radius: float, at: tuple[float, float]) -> Tensor:
    """A disc of a radius (in shorter sides) whose centre lies ``at`` from the middle: (h, w) uint8."""
    i, j = (np.arange(n) - (n - 1) / 2 for n in size)
    y, x = i[:, None] * pixel[0] - at[0], j[None] * pixel[1] - at[1]
    return torch.from_numpy((np.hypot(y, x) <= radius).astype(np.uint8))


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(-180, 180), ratio=st.sampled_from([1.0, 1.5, 3.0]), tall=st.booleans())
def test_a_disc_stays_a_disc_and_goes_where_it_is_turned_to(degrees: float, ratio: float, tall: bool) -> None:
    pixel, size = ((ratio, 1.0), (41, 121)) if tall else ((1.0, ratio), (121, 41))
    label = disc(size, pixel, 8.0, (0.0, 10.0)).unsqueeze(0)
    angle = math.radians(degrees)
    draws = nothing(pixel, rotate_radians=np.array([angle]))
    _, out = move(label.unsqueeze(0).float(), label, draws, size)
    # What is read at p comes from R·p: the disc at (0, 10) is seen at R⁻¹·(0, 10).
    expected = disc(size, pixel, 8.0, (10 * math.sin(angle), 10 * math.cos(angle)))
    differing = (out[0] != expected).sum().item()
    assert differing <= 0.3 * expected.sum().item()  # pixels at its edge


def test_a_quarter_turn_of_tall_pixels_by_hand() -> None:
    """Two pixels 2 mm apart along rows become two pixels 2 mm apart along columns of 1 mm."""
    label = torch.zeros(1, 5, 9, dtype=torch.uint8)
    label[0, 1, 4] = label[0, 3, 4] = 1
    draws = nothing((2.0, 1.0), rotate_radians=np.array([math.pi / 2]))
    _, out = move(label.unsqueeze(0).float(), label, draws, (5, 9))
    assert out[0, 2].tolist() == [0, 0, 1, 0, 0, 0, 1, 0, 0]
    assert out[0, [0, 1, 3, 4]].sum() == 0


def test_shifts_are_equally_long_along_both_axes() -> None:
    label = torch.arange(81, dtype=torch.uint8).reshape(1, 9, 9)
    draws = nothing((2.0, 1.0), shift_px=np.array([[2.0, 2.0]]))
    _, out = move(label.unsqueeze(0).float(), label, draws, (3, 3))
    assert torch.equal(out, label[:, 4:7, 5:8])  # 1 row of 2 mm, 2 columns of 1 mm


def test_elastic_displacements_are_equally_long_along_both_axes() -> None:
    label = torch.arange(90, dtype=torch.uint8).reshape(1, 9, 10)
    draws = nothing((1.0, 3.0), elastic_px=np.full((1, 2, 3, 3), 3.0))
    placement = torch.tensor([[[0, 0], [9, 10], [0, 0]]])
    _, out = move(label.unsqueeze(0).float(), label, draws, (9, 10), placement=placement)
    assert torch.equal(out[0, :6, :9], label[0, 3:, 1:])  # 3 rows of 1 mm, 1 column of 3 mm


@settings(max_examples=40, deadline=None)
@given(
    window=st.tuples(st.integers(4, 30), st.integers(4, 30)),
    ratio=st.floats(1, 4),
    tall=st.booleans(),
    rotate=st.floats(0, 180),
    shift=st.floats(0, 5),
    seed=st.integers(0, 2**31),
)
def test_the_field_holds_every_pixel_that_is_asked_for(
    window: tuple[int, int], ratio: float, tall: bool, rotate: float, shift: float, seed: int
) -> None:
    pixel = (ratio, 1.0) if tall else (1.0, ratio)
    setting = Augmentation(rotate_degrees=rotate, scale=0.3, shift_px=shift)
    field = field_size(window, setting, pixel)
    assert all(f >= w and (f - w) % 2 == 0 for f, w in zip(field, window, strict=True))
    if setting.resamples:
        ring = torch.zeros(1, 1, *field)
        ring[..., 1:-1, 1:-1] = 1
        draws = draw(setting, 1, np.random.default_rng(seed))
        draws = replace(draws, magnify=np.array([1 / 1.3]), pixel=np.array([pixel]))
        assert move(ring, ring[0].to(torch.uint8), draws, window)[0].min() > 0.999


def test_cases_of_different_spacing_are_each_turned_in_mm() -> None:
    square = np.random.default_rng(0).integers(0, 200, (30, 30, 3)).astype(np.uint8)
    cases = [case(square), case(square, (1.0, 2.0, 5.0))]
    pixels = tuple(slabs.pixel_shape(c.volume.grid, "axial") for c in cases)
    augmenter = Augmenter(Augmentation(rotate_degrees=90.0), (8, 8), 12, 3, pixels=pixels)
    assert augmenter.placed
    sampler = PatchSampler(cases, "axial", 1, (8, 8), 12, 3, field=augmenter.field, placed=True)
    patches, labels, placement = map(torch.from_numpy, sampler(0))
    out = augmenter(patches, labels, 0, slice(None), placement)[0]
    drawn = [place.case for place in sampler.places(0)]
    assert set(drawn) == {0, 1}
    for n, of_case in enumerate(drawn):
        assert placement[n, 3].tolist() == list(pixels[of_case])
        alone = draw(augmenter.settings, 12, np.random.default_rng((3, 0, 1))).of(slice(n, n + 1))
        alone = replace(alone, pixel=np.array([pixels[of_case]]))
        expected = move(patches[n : n + 1], labels[n : n + 1], alone, (8, 8))[0]
        assert torch.equal(out[n : n + 1], expected)


def test_square_pixels_change_nothing_bit_for_bit() -> None:
    setting = Augmentation(("left_right",), 30.0, 0.2, 3.0, elastic_px=2.0)
    array = np.random.default_rng(0).integers(0, 200, (30, 30, 3)).astype(np.uint8)
    for spacing in ((1.0, 1.0, 1.0), (0.7, 0.7, 4.0)):
        pixels = (slabs.pixel_shape(grid(spacing), "axial"),)
        assert pixels == ((1.0, 1.0),)
        augmenter = Augmenter(setting, (8, 8), 4, 3, pixels=pixels)
        sampler = PatchSampler(
            [case(array, spacing)], "axial", 1, (8, 8), 4, 3, 0.0, None, (), augmenter.boxes
        )
        batch = [torch.from_numpy(part) for part in sampler(0)]
        out = augmenter(*batch[:2], 0, slice(None), *batch[2:])[0]
        if spacing[0] == 1.0:
            first = out
    assert torch.equal(first, out)
