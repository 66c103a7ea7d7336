from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import Code
from medseg.grid import Array
from medseg.io import nifti
from tests.helpers.scan_files import codes, refused

MakeNifti = Callable[..., Path]


def make_mgz(path: Path, array: Array, affine: Array) -> Path:
    nib.save(nib.MGHImage(array, affine), path)
    return path


@pytest.mark.parametrize("name", ["a.mgz", "a.mgh"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_freesurfer_volume(tmp_path: Path, name: str, dtype: str) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    affine = np.array([[-1, 0, 0, 9], [0, 0, 2, -7], [0, -3, 0, 5], [0, 0, 0, 1.0]])
    volume = nifti.read(make_mgz(tmp_path / name, array, affine))
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-5)
    assert volume.array.dtype == np.dtype(dtype)
    assert codes(volume) == {Code.FLIPPED}
    assert volume.source is None


def test_freesurfer_volume_without_orientation(tmp_path: Path, ramp: Array) -> None:
    path = make_mgz(tmp_path / "a.mgh", ramp, np.eye(4))
    block = bytearray(path.read_bytes())
    block[28:30] = b"\0\0"
    path.write_bytes(block)
    volume = nifti.read(path)
    assert Code.NO_ORIENTATION in codes(volume)
    np.testing.assert_array_equal(volume.grid.affine[:3, :3], [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])


def test_freesurfer_frames_and_cut_files(tmp_path: Path) -> None:
    path = make_mgz(tmp_path / "a.mgh", np.zeros((3, 4, 5, 2), np.int16), np.eye(4))
    assert refused(path) is Code.FOUR_D
    assert nifti.read(path, channels_last=True).array.shape == (2, 3, 4, 5)
    path.write_bytes(path.read_bytes()[:300])
    assert refused(path, channels_last=True) is Code.TRUNCATED
    path.write_bytes(path.read_bytes()[:200])
    assert refused(path) is Code.TRUNCATED
