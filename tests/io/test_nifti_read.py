from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import Code
from medseg.grid import Array
from medseg.io import nifti
from tests.helpers.scan_files import codes, refused

MakeNifti = Callable[..., Path]


def rotated(degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_plain_file_keeps_dtype_values_and_place(make_nifti: MakeNifti, name: str, dtype: str) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = [-7, 8, 9]
    volume = nifti.read(make_nifti(array, affine, name))
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_allclose(volume.grid.affine, affine)
    assert volume.grid.shape == (3, 4, 5)
    assert volume.grid.spacing == (2, 3, 4)
    assert volume.notes == ()


def test_the_array_is_in_memory_once_x_fastest(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp))
    assert volume.array[0].flags.f_contiguous
    assert volume.array.flags.writeable


def test_agrees_with_nibabel_beyond_one_chunk(make_nifti: MakeNifti, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "_CHUNK", 7)
    array = np.random.default_rng(0).integers(-99, 99, (5, 6, 7)).astype(np.int16)
    path = make_nifti(array, name="a.nii.gz", scl_slope=0.5, scl_inter=3)
    np.testing.assert_array_equal(nifti.read(path).array[0], nib.load(path).get_fdata(dtype=np.float32))


def test_nifti2(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp, kind=nib.Nifti2Header))
    np.testing.assert_array_equal(volume.array[0], ramp)
    assert isinstance(volume.source, nib.Nifti2Header)


def test_compression_is_told_by_content(make_nifti: MakeNifti, ramp: Array) -> None:
    plain = make_nifti(ramp)
    misnamed = plain.with_name("b.nii.gz")
    misnamed.write_bytes(plain.read_bytes())
    np.testing.assert_array_equal(nifti.read(misnamed).array[0], ramp)


# Usable, with a note


def test_big_endian(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp, endian=">"))
    assert codes(volume) == {Code.BIG_ENDIAN}
    assert volume.array.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(volume.array[0], ramp)


def test_scaled_integers_become_float32(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp, scl_slope=0.25, scl_inter=-2))
    assert codes(volume) == {Code.SCALED}
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], ramp * 0.25 - 2)


@pytest.mark.parametrize(("slope", "inter"), [(1, 0), (0, 5), (np.nan, np.nan)])
def test_trivial_scaling_changes_nothing(
    make_nifti: MakeNifti, ramp: Array, slope: float, inter: float
) -> None:
    volume = nifti.read(make_nifti(ramp, scl_slope=slope, scl_inter=inter))
    assert volume.array.dtype == np.int16
    assert codes(volume) == set()


def test_scaling_of_double_precision_stays_in_double_precision(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp.astype(np.float64) * 1e300, scl_slope=2))
    np.testing.assert_array_equal(volume.array[0], ramp * 2e300)


@pytest.mark.parametrize(("dtype", "slope"), [(np.float64, 1e10), (np.float32, 1e30)])
def test_scaling_beyond_its_dtype_is_refused(make_nifti: MakeNifti, dtype: Any, slope: float) -> None:
    array = np.full((3, 4, 5), 1e300 if dtype is np.float64 else 1e30, dtype)
    assert refused(make_nifti(array, scl_slope=slope)) is Code.VALUES_TOO_LARGE


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "expected"),
    [
        *((np.int16, 2, -1024, np.float32), (np.uint8, 0.5, 0, np.float32), (np.float32, 3, 0, np.float32)),
        *((np.int16, 1, 2.0**27, np.float64), (np.int16, -1, -(2.0**27), np.float64)),
        *((np.int32, 2, 0, np.float64), (np.float32, 1, 1e10, np.float64), (np.int16, 1e-38, 0, np.float64)),
    ],
)
def test_scaled_values_have_a_dtype_that_keeps_them_apart(
    make_nifti: MakeNifti, ramp: Array, dtype: Any, slope: float, inter: float, expected: Any
) -> None:
    volume = nifti.read(make_nifti(ramp.astype(dtype), scl_slope=slope, scl_inter=inter))
    assert volume.array.dtype == expected
    assert len(np.unique(volume.array)) == 60
    np.testing.assert_allclose(
        volume.array[0], ramp * float(np.float32(slope)) + float(np.float32(inter)), rtol=1e-6
    )


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (3, 0.001)])
@pytest.mark.parametrize(
    "forms", [{}, {"qform_code": 0}, {"sform_code": 0}, {"sform_code": 0, "qform_code": 0}]
)
def test_lengths_in_metres_and_microns_become_mm(
    make_nifti: MakeNifti, ramp: Array, unit: int, factor: float, forms: dict[str, int]
) -> None:
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = 5, 6, 7
    volume = nifti.read(make_nifti(ramp, affine, xyzt_units=unit | 8, **forms))
    assert Code.UNITS_CONVERTED in codes(volume)
    expected = affine.copy()
    expected[:3] *= factor
    if not forms.get("sform_code", 1) and not forms.get("qform_code", 1):
        expected[:3, 3] = 0
    np.testing.assert_allclose(volume.grid.affine, expected, rtol=1e-6)


@pytest.mark.parametrize("unit", [0, 2, 8, 10, 7])
def test_lengths_in_mm_or_without_a_unit_stay(make_nifti: MakeNifti, ramp: Array, unit: int) -> None:
    volume = nifti.read(make_nifti(ramp, np.diag([2.0, 3, 4, 1]), xyzt_units=unit))
    assert codes(volume) == set() and volume.grid.spacing == (2, 3, 4)


@pytest.mark.parametrize("forms", [{}, {"sform_code": 0}, {"sform_code": 0, "qform_code": 0}])
def test_voxels_too_long_for_mm_need_a_stated_unit(
    make_nifti: MakeNifti, ramp: Array, forms: dict[str, int]
) -> None:
    affine = np.diag([1000.0, 1000, 1000, 1])
    for unit in (0, 7, 8):
        assert refused(make_nifti(ramp, affine, xyzt_units=unit, **forms)) is Code.UNITS_UNKNOWN
    for unit, edge in ((2, 1000), (3, 1)):
        path = make_nifti(ramp, affine, xyzt_units=unit, **forms)
        assert nifti.read(path).grid.spacing == pytest.approx((edge,) * 3)


def test_forms_are_compared_in_mm(make_nifti: MakeNifti, ramp: Array) -> None:
    assert refused(make_nifti(ramp, xyzt_units=1, qoffset_x=0.05)) is Code.SFORM_QFORM_DISAGREE
    microns = nifti.read(make_nifti(ramp * 1, np.diag([9.0, 9, 9, 1]), xyzt_units=3, qoffset_x=50))
    assert Code.FORMS_DIFFER_SLIGHTLY in codes(microns)


@pytest.mark.parametrize("forms", [{}, {"sform_code": 0}, {"qform_code": 0}])
def test_a_negative_pixel_size_counts_as_positive(
    make_nifti: MakeNifti, ramp: Array, forms: dict[str, int]
) -> None:
    path = make_nifti(ramp, np.diag([2.0, 3, 4, 1]), pixdim={1: -2, 2: 3, 3: -4}, **forms)
    volume = nifti.read(path)
    assert Code.NEGATIVE_PIXEL_SIZE in codes(volume)
    np.testing.assert_allclose(volume.grid.affine, np.diag([2.0, 3, 4, 1]))
    np.testing.assert_allclose(volume.grid.affine, nib.load(path).affine)


def test_trailing_singleton_axis_and_zero_pixel_size(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp[..., None], pixdim={4: 0}))
    assert codes(volume) == {Code.SINGLETON_AXIS, Code.ZERO_PIXEL_SIZE}
    assert volume.grid.shape == (3, 4, 5)
    np.testing.assert_array_equal(volume.array[0], ramp)


def test_five_axes_of_which_two_are_single(make_nifti: MakeNifti, ramp: Array) -> None:
    assert codes(nifti.read(make_nifti(ramp[..., None, None]))) == {Code.SINGLETON_AXIS}


def test_zero_pixel_size_that_the_sform_replaces(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp, np.diag([2.0, 2, 2, 1]), pixdim={2: 0}, qform_code=0))
    assert codes(volume) == {Code.ZERO_PIXEL_SIZE, Code.ONE_FORM}
    assert volume.grid.spacing == (2, 2, 2)


def test_two_dimensional_image_is_one_slice(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp[:, :, 0]))
    assert volume.grid.shape == (3, 4, 1)


@pytest.mark.parametrize("absent", ["qform_code", "sform_code"])
def test_one_form_is_used(make_nifti: MakeNifti, ramp: Array, absent: str) -> None:
    affine = np.diag([2.0, 3, 4, 1])
    volume = nifti.read(make_nifti(ramp, affine, **{absent: 0}))
    assert codes(volume) == {Code.ONE_FORM}
    np.testing.assert_allclose(volume.grid.affine, affine)


def test_no_form_leaves_voxel_sizes(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp, np.diag([-2.0, 3, 4, 1]), qform_code=0, sform_code=0))
    assert codes(volume) == {Code.NO_ORIENTATION}
    np.testing.assert_allclose(volume.grid.affine, np.diag([2.0, 3, 4, 1]))


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0.0005, set()), (0.05, {Code.FORMS_DIFFER_SLIGHTLY}), (0.0999, {Code.FORMS_DIFFER_SLIGHTLY})],
)
def test_forms_that_nearly_agree_give_the_sform(
    make_nifti: MakeNifti, ramp: Array, shift: float, expected: set[Code]
) -> None:
    volume = nifti.read(make_nifti(ramp, qoffset_x=shift))
    assert codes(volume) == expected
    np.testing.assert_allclose(volume.grid.affine, np.eye(4))


def test_oblique_says_the_angle(make_nifti: MakeNifti, ramp: Array) -> None:
    volume = nifti.read(make_nifti(ramp, rotated(8.6)))
    assert [(note.code, note.details) for note in volume.notes] == [(Code.OBLIQUE, "rotated by 8.6°")]


def test_rounding_of_cosines_is_not_oblique(make_nifti: MakeNifti, ramp: Array) -> None:
    assert codes(nifti.read(make_nifti(ramp, rotated(0.01)))) == set()


def test_flipped_and_permuted_say_the_axes(make_nifti: MakeNifti, ramp: Array) -> None:
    affine = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    (note,) = nifti.read(make_nifti(ramp, affine)).notes
    assert (note.code, note.details) == (Code.FLIPPED, "axes PSL")


def test_handedness_of_zero_is_read_as_one(make_nifti: MakeNifti, ramp: Array) -> None:
    assert codes(nifti.read(make_nifti(ramp, pixdim={0: 0}))) == set()


def test_channels_last(make_nifti: MakeNifti) -> None:
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    volume = nifti.read(make_nifti(array), channels_last=True)
    assert volume.array.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(volume.array[1], array[..., 1])


# Memory


@pytest.mark.parametrize("fields", [{}, {"scl_slope": 0.5}], ids=["as it lies", "scaled"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_one_array_is_in_memory(
    make_nifti: MakeNifti, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], name: str
) -> None:
    monkeypatch.setattr(nifti, "_CHUNK", 2**14)
    path = make_nifti(np.zeros((100, 100, 100), np.int16), name=name, **fields)
    tracemalloc.start()
    volume = nifti.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < volume.array.nbytes + 1_000_000
