from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io import nifti
from tests.helpers.scan_files import refused

MakeNifti = Callable[..., Path]


def test_four_axes(make_nifti: MakeNifti) -> None:
    assert refused(make_nifti(np.zeros((3, 4, 5, 2), np.int16))) is Code.FOUR_D


def test_vectors(make_nifti: MakeNifti) -> None:
    path = make_nifti(np.zeros((3, 4, 5, 1, 3), np.float32))
    assert refused(path) is Code.NOT_SCALAR
    assert refused(path, channels_last=True) is Code.NOT_SCALAR


@pytest.mark.parametrize("dtype", [[("R", "u1"), ("G", "u1"), ("B", "u1")], "complex64"])
def test_colours_and_complex_numbers(make_nifti: MakeNifti, dtype: Any) -> None:
    assert refused(make_nifti(np.zeros((3, 4, 5), dtype))) is Code.NOT_SCALAR


def test_forms_that_disagree_name_distance_and_both(make_nifti: MakeNifti, ramp: Array) -> None:
    with pytest.raises(MedsegError) as caught:
        nifti.read(make_nifti(ramp, qoffset_x=0.2))
    assert caught.value.code is Code.SFORM_QFORM_DISAGREE
    assert caught.value.finding.details == (
        "corners up to 0.2 mm apart: sform [1 0 0 0; 0 1 0 0; 0 0 1 0], qform [1 0 0 0.2; 0 1 0 0; 0 0 1 0]"
    )


def test_both_coded_but_one_unusable_disagree(make_nifti: MakeNifti, ramp: Array) -> None:
    assert refused(make_nifti(ramp, quatern_b=2)) is Code.SFORM_QFORM_DISAGREE
    assert refused(make_nifti(ramp, srow_x=[np.nan] * 4)) is Code.SFORM_QFORM_DISAGREE


def test_axes_off_square(make_nifti: MakeNifti, ramp: Array) -> None:
    def leaning(degrees: float) -> list[float]:
        return [1, float(np.tan(np.radians(degrees))), 0, 0]

    assert refused(make_nifti(ramp, srow_x=leaning(1.1), qform_code=0)) is Code.SHEARED
    nifti.read(make_nifti(ramp, srow_x=leaning(0.9), qform_code=0))


def test_parallel_axes_are_sheared(make_nifti: MakeNifti, ramp: Array) -> None:
    assert refused(make_nifti(ramp, srow_x=[1, 1, 0, 0], srow_y=[0] * 4, qform_code=0)) is Code.SHEARED


@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": [0, 0, 0, 0], "qform_code": 0},
        {"srow_x": [np.nan, 0, 0, 0], "qform_code": 0},
        {"pixdim": {1: 0}, "sform_code": 0},
        {"pixdim": {1: 0}, "sform_code": 0, "qform_code": 0},
        {"quatern_b": 2, "sform_code": 0},
    ],
    ids=["zero row", "nan", "qform without size", "no form, no size", "no rotation"],
)
def test_voxels_without_a_place(make_nifti: MakeNifti, ramp: Array, fields: dict[str, Any]) -> None:
    assert refused(make_nifti(ramp, **fields)) is Code.AFFINE_INVALID


@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 1, 5), (1, 1, 1)])
def test_a_line_is_too_small(make_nifti: MakeNifti, shape: tuple[int, ...]) -> None:
    assert refused(make_nifti(np.zeros(shape, np.int16))) is Code.TOO_SMALL


@pytest.mark.parametrize("shape", [(5, 4, 1), (1, 4, 5), (2, 2, 2)])
def test_a_slice_is_not_too_small(make_nifti: MakeNifti, shape: tuple[int, ...]) -> None:
    assert nifti.read(make_nifti(np.zeros(shape, np.int16))).grid.shape == shape


def test_too_large_is_refused_before_memory_is_taken(make_nifti: MakeNifti, ramp: Array) -> None:
    assert refused(make_nifti(ramp), max_voxels=59) is Code.TOO_LARGE
    nifti.read(make_nifti(ramp), max_voxels=60)
    assert refused(make_nifti(ramp, dim=[3, 32000, 32000, 32000, 1, 1, 1, 1])) is Code.TOO_LARGE


def test_the_remedy_for_a_large_scan_is_one_that_helps(make_nifti: MakeNifti, ramp: Array) -> None:
    with pytest.raises(MedsegError) as caught:
        nifti.read(make_nifti(ramp), max_voxels=59)
    assert "limit" not in caught.value.finding.how_to_fix and "resample" in caught.value.finding.how_to_fix


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_every_way_to_cut_a_file_is_truncated(make_nifti: MakeNifti, name: str) -> None:
    array = np.random.default_rng(0).integers(0, 999, (6, 7, 8)).astype(np.int16)
    path = make_nifti(array, name=name)
    whole = path.read_bytes()
    for length in {0, 400, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert refused(path) is Code.TRUNCATED, length


def test_header_that_ends_early_is_truncated(make_nifti: MakeNifti, ramp: Array) -> None:
    path = make_nifti(ramp)
    path.write_bytes(path.read_bytes()[:300])
    assert refused(path) is Code.TRUNCATED
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert refused(path) is Code.TRUNCATED


def test_a_header_that_announces_more_than_a_gzip_can_hold(make_nifti: MakeNifti, ramp: Array) -> None:
    path = make_nifti(ramp, name="a.nii.gz", dim=[3, 900, 900, 900, 1, 1, 1, 1])
    assert refused(path) is Code.TRUNCATED


def test_gzip_that_decompresses_to_less_than_announced(make_nifti: MakeNifti) -> None:
    array = np.zeros((20, 20, 20), np.int16)
    assert refused(make_nifti(array, name="a.nii.gz", dim=[3, 20, 20, 21, 1, 1, 1, 1])) is Code.TRUNCATED


def test_damaged_byte_is_found_wherever_it_is(make_nifti: MakeNifti) -> None:
    array = np.random.default_rng(0).integers(0, 999, (6, 7, 8)).astype(np.int16)
    path = make_nifti(array, name="a.nii.gz")
    whole = path.read_bytes()
    for position in (len(whole) // 2, len(whole) - 6):  # in the voxels, in the checksum
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert refused(path) is Code.TRUNCATED


def test_damage_is_refused_where_pythons_own_gzip_refuses_it(make_nifti: MakeNifti) -> None:
    array = np.random.default_rng(0).integers(0, 9, (6, 7, 8)).astype(np.int16)
    path = make_nifti(array, name="a.nii.gz")
    whole = path.read_bytes()
    for position in range(10, len(whole), 5):
        damaged = whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :]
        path.write_bytes(damaged)
        try:
            content = gzip.decompress(damaged)
        except (EOFError, OSError, zlib.error):
            assert refused(path) in (Code.TRUNCATED, Code.NOT_AN_IMAGE)
        else:
            assert content == gzip.decompress(whole)
            assert np.array_equal(nifti.read(path).array[0], array)
    path.write_bytes(whole + whole[:7])  # a second member that is cut
    assert refused(path) is Code.TRUNCATED


@pytest.mark.parametrize("content", [b"hello", b"<html>" + b"x" * 999, b"\x89PNG\r\n" + bytes(999)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz"])
def test_something_else(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(path) is Code.NOT_AN_IMAGE
    path.write_bytes(gzip.compress(content))
    assert refused(path) is Code.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "fields",
    [
        {"datatype": 9999},
        {"vox_offset": np.nan},
        {"vox_offset": 17},
        {"scl_slope": 2, "scl_inter": np.inf},
        {"magic": b"ni1"},
        {"dim": [3, 3, -4, 5, 1, 1, 1, 1]},
        {"dim": [0, 0, 0, 0, 0, 0, 0, 0]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_impossible_headers(make_nifti: MakeNifti, ramp: Array, fields: dict[str, Any]) -> None:
    assert refused(make_nifti(ramp, **fields)) is Code.NOT_AN_IMAGE


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.nii") is Code.FILE_MISSING


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "folder.nii").mkdir()
    assert refused(tmp_path / "folder.nii") is Code.FILE_UNREADABLE
    (tmp_path / "link.nii").symlink_to(tmp_path / "nowhere.nii")
    assert refused(tmp_path / "link.nii") is Code.FILE_UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads every file")
def test_permission_denied(make_nifti: MakeNifti, ramp: Array) -> None:
    path = make_nifti(ramp)
    path.chmod(0)
    assert refused(path) is Code.FILE_UNREADABLE
