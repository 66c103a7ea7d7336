"""Stacks of slices: where they lie is right, or they are refused by name."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code
from medseg.grid import Array
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import slice_dataset, write_series

SHAPE = (5, 4, 3)
PIXELS = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.uint16)


def _affine(directions: Array, spacing: tuple[float, float, float] = (0.5, 2.0, 3.25)) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    return affine


def _only(folder: Path) -> SeriesVolume:
    export = read_export(folder)
    (volume,) = export.volumes
    assert not export.findings
    return volume


def _lies_right(folder: Path, affine: Array) -> None:
    """Each voxel of the volume that was read lies where the same voxel of PIXELS does."""
    volume = read_volume(_only(folder))
    back = np.linalg.inv(affine) @ volume.grid.affine
    for index in product(*map(range, volume.grid.shape)):
        place = back @ [*index, 1]
        where = tuple(np.rint(place[:3]).astype(int))
        assert np.abs(place[:3] - where).max() * 3.25 < 0.01
        assert volume.array[(0, *index)] == PIXELS[where]


AXES = [
    np.eye(3)[:, list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


@pytest.mark.parametrize("directions", AXES)
def test_forty_eight_ways_along_the_axes(tmp_path: Path, directions: Array) -> None:
    affine = _affine(directions)
    write_series(tmp_path, PIXELS, affine)
    _lies_right(tmp_path, affine)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_oblique_stacks(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    folder, affine = tmp_path_factory.mktemp("oblique"), _affine(rotation)
    write_series(folder, PIXELS, affine)
    _lies_right(folder, affine)


def _refused(folder: Path) -> tuple[Code, str]:
    volume = _only(folder)
    assert volume.grid is None and volume.refusal is not None
    return volume.refusal.code, volume.refusal.details


SIX = np.random.default_rng(1).integers(0, 4000, (5, 4, 6)).astype(np.uint16)


def test_a_missing_slice_is_named_and_no_gap_is_averaged(tmp_path: Path) -> None:
    write_series(tmp_path, SIX, _affine(np.eye(3)), slices=[0, 1, 2, 4, 5])
    code, details = _refused(tmp_path)
    assert code == Code.SLICES_MISSING and "1 slice(s) missing at gaps of 3.25 mm" in details


def test_a_missing_slice_at_the_end_cannot_be_known_and_two_slices_are_a_volume(tmp_path: Path) -> None:
    write_series(tmp_path, SIX, _affine(np.eye(3)), slices=[0, 1])
    assert _only(tmp_path).grid is not None


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, SIX, _affine(np.eye(3)), slices=[3])
    assert _refused(tmp_path)[0] == Code.ONE_SLICE


def _save(folder: Path, index: int, shift: tuple[float, float, float] = (0, 0, 0), **tags: object) -> None:
    affine = _affine(np.eye(3))
    affine[:3, 3] += shift
    dataset = slice_dataset(SIX, affine, index, series="1.2.3", **tags)
    dataset.save_as(folder / f"{index}{sorted(tags)}{shift[0]}", enforce_file_format=True)


def test_uneven_gaps(tmp_path: Path) -> None:
    for index, shift in enumerate((0, 0, 0.4, 0, 0.9, 0)):
        _save(tmp_path, index, (0, 0, shift))
    assert _refused(tmp_path)[0] == Code.SLICES_UNEVEN


@pytest.mark.parametrize("noise_mm", [0.004, 0.012])
def test_rounded_positions_are_even(tmp_path: Path, noise_mm: float) -> None:
    for index in range(6):
        _save(tmp_path, index, (0, 0, noise_mm * (-1) ** index))
    assert _only(tmp_path).grid is not None


@pytest.mark.parametrize(("shift_mm", "tilted"), [(0.02, False), (0.2, True), (-1.0, True)])
def test_a_tilt_is_told_by_positions_alone(tmp_path: Path, shift_mm: float, tilted: bool) -> None:
    for index in range(6):
        _save(tmp_path, index, (0, shift_mm * index, 0))
    volume = _only(tmp_path)
    assert (volume.grid is None) == tilted
    if tilted:
        assert volume.refusal is not None and volume.refusal.code == Code.GANTRY_TILT


def test_two_slices_at_one_place_that_nothing_tells_apart(tmp_path: Path) -> None:
    for index in range(6):
        _save(tmp_path, index)
    _save(tmp_path, 2, InstanceNumber=99)
    assert _refused(tmp_path)[0] == Code.SLICES_DUPLICATE


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ImagePositionPatient": None}, Code.NO_POSITION),
        ({"ImageOrientationPatient": None}, Code.NO_POSITION),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, Code.NO_POSITION),
        ({"PixelSpacing": None}, Code.NO_POSITION),
        ({"PixelSpacing": [0, 1]}, Code.NO_POSITION),
    ],
)
def test_no_place_is_invented(tmp_path: Path, tags: dict[str, object], code: Code) -> None:
    for index in range(3):
        _save(tmp_path, index, **tags)
    assert _refused(tmp_path)[0] == code


def test_a_localizer_is_no_volume(tmp_path: Path) -> None:
    for number, order in enumerate(((0, 1, 2), (1, 2, 0), (2, 0, 1))):
        affine = _affine(np.eye(3)[:, list(order)])
        slice_dataset(SIX, affine, 0, series="1.2.3", InstanceNumber=number).save_as(
            tmp_path / f"{number}", enforce_file_format=True
        )
    code, details = _refused(tmp_path)
    assert code == Code.ORIENTATIONS_MIXED and "3 slices of 3 orientations" in details


def test_other_pixel_spacings_and_matrices_make_other_volumes(tmp_path: Path) -> None:
    write_series(tmp_path, SIX, _affine(np.eye(3)), series="1.2.3", prefix="a")
    write_series(tmp_path, SIX[:4], _affine(np.eye(3)), series="1.2.3", prefix="b")
    write_series(tmp_path, SIX, _affine(np.eye(3), (0.6, 2.0, 3.25)), series="1.2.3", prefix="c")
    volumes = read_export(tmp_path).volumes
    assert [v.label for v in volumes] == ["stack 1", "stack 2", "stack 3"]
    assert {v.grid.shape for v in volumes if v.grid} == {(5, 4, 6), (4, 4, 6)}
