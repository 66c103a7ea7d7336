"""Headers made here: nibabel's, but for the last digit of a quaternion."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.grid import SAME_GRID_MM, Grid, corner_distance
from medseg.io import nifti_header

_TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


_ROTATIONS = (
    arrays(float, 4, elements=st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1, 1))
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(_rotation)
)
"""Rotations, those by quarters and halves of a turn among them."""


@settings(max_examples=300, deadline=None)
@given(
    rotation=_ROTATIONS,
    spacing=arrays(float, 3, elements=st.floats(0.01, 50)),
    origin=arrays(float, 3, elements=st.floats(-100, 100)),
    is_mirrored=st.booleans(),
    shape=st.tuples(*[st.integers(1, 300)] * 3),
    dtype=st.sampled_from(_TYPES),
)
def test_the_header_is_that_of_nibabel(
    rotation: np.ndarray,
    spacing: np.ndarray,
    origin: np.ndarray,
    is_mirrored: bool,
    shape: tuple[int, int, int],
    dtype: str,
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing * ([1, -1, 1] if is_mirrored else [1, 1, 1])
    affine[:3, 3] = origin
    grid = Grid(shape, affine)
    block = nifti_header.plain(grid, np.dtype(dtype))
    assume(block is not None)
    assert block is not None and len(block) == 352
    expected = nib.Nifti1Header(endianness="<")
    expected.set_data_shape(shape)
    expected.set_data_dtype(np.dtype(dtype))
    expected["vox_offset"] = 352
    expected["scl_slope"], expected["scl_inter"] = 1, 0
    expected.set_xyzt_units("mm")
    expected["pixdim"][1:4] = grid.spacing
    expected.set_sform(affine, code=1)
    expected.set_qform(affine, code=1)
    header = nib.Nifti1Header(block[:348])
    # Near half a turn a quaternion in single precision leaves so much of large voxels, nibabel's too.
    theirs = corner_distance(grid, Grid(shape, expected.get_qform()))
    assert corner_distance(grid, Grid(shape, header.get_qform())) <= max(SAME_GRID_MM, 1.01 * theirs)
    np.testing.assert_array_equal(header.get_sform(), affine.astype(np.float32))
    for name in set(expected.keys()) - set(_QUATERNION):
        np.testing.assert_array_equal(header[name], expected[name], err_msg=name)
    assert block[348:] == bytes(4)
    nib.Nifti1Header.from_fileobj(io.BytesIO(block))


def test_a_turn_that_the_quaternion_rounds_away_is_left_to_nibabel() -> None:
    affine = np.eye(4)
    affine[:3, :3] = _rotation(np.array([1e-4, 0.6, 0.8, 0.0]))
    assert nifti_header.plain(Grid((4, 4, 4), affine), np.dtype("int16")) is not None
    assert nifti_header.plain(Grid((4000, 4000, 4), affine), np.dtype("int16")) is None


@pytest.mark.parametrize("fault", ["shear", "type", "length"])
def test_what_it_cannot_code_is_left_to_nibabel(fault: str) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.01 if fault == "shear" else 0
    grid = Grid((40000 if fault == "length" else 4, 4, 4), affine)
    assert nifti_header.plain(grid, np.dtype("complex64" if fault == "type" else "int16")) is None
