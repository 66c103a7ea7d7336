"""Images in memory become the volumes that their files become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.io import memory, nifti, scans
from medseg.io.memory import MemoryImage
from tests.helpers.scan_files import STEP, codes, save


def same(one: Any, other: Any) -> None:
    """Check that two volumes hold the same: bits, order in memory, place and codes of notes."""
    assert one.array.dtype == other.array.dtype
    assert one.array.strides == other.array.strides
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.grid.affine, other.grid.affine)
    assert codes(one) == codes(other)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_an_image_is_its_file(tmp_path: Path, dtype: Any, suffix: str) -> None:
    array = np.random.default_rng(0).integers(0, 200, (5, 6, 4)).astype(dtype)
    path = save(tmp_path / f"a.{suffix}", array, np.diag([-1.0, 1.5, 2.0, 1.0]))
    same(memory.read(MemoryImage("scan", nib.load(path))), nifti.read(path))
    fresh = nib.Nifti1Image(array, nib.load(path).affine, nib.load(path).header)
    same(memory.read(MemoryImage("scan", fresh)), nifti.read(path))


@pytest.mark.parametrize(("sform", "qform"), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 4)])
def test_the_forms_of_an_image_are_those_of_its_file(tmp_path: Path, sform: int, qform: int) -> None:
    array = np.arange(120, dtype=np.int16).reshape(5, 6, 4)
    path = save(tmp_path / "a.nii", array, STEP, sform=sform, qform=qform)
    read, volume = nifti.read(path), memory.read(MemoryImage("scan", nib.load(path)))
    same(volume, read)
    image = nifti.to_image(volume)
    nifti.write(read, tmp_path / "b.nii")
    written = nib.load(tmp_path / "b.nii")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (sform, qform)
    np.testing.assert_array_equal(image.affine, written.affine)
    np.testing.assert_array_equal(image.affine, nib.load(path).affine)


def test_an_affine_that_was_changed_after_loading_counts(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.arange(120, dtype=np.int16).reshape(5, 6, 4))
    loaded = nib.load(path)
    moved = nib.Nifti1Image(loaded.dataobj, np.diag([1.0, 1.0, 3.0, 1.0]), loaded.header)
    assert memory.read(MemoryImage("scan", moved)).grid.spacing == (1, 1, 3)


def test_metres_become_mm() -> None:
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(5, 6, 4), np.diag([1e-3, 1e-3, 2e-3, 1.0]))
    image.header.set_xyzt_units("meter")
    volume = memory.read(MemoryImage("scan", image))
    np.testing.assert_allclose(volume.grid.spacing, (1, 1, 2), rtol=1e-6)
    assert Code.UNITS_CONVERTED in codes(volume)


def test_arrays_are_viewed_not_changed_and_slices_are_legal() -> None:
    array = np.asfortranarray(np.arange(120, dtype=np.int16).reshape(5, 6, 4))
    volume = scans.read(MemoryImage("scan", array, STEP))
    assert np.shares_memory(volume.array, array)
    assert scans.read(MemoryImage("scan", array[:, :, 0], STEP)).array.shape == (1, 5, 6, 1)
    assert scans.read(MemoryImage("scan", array > 3, STEP)).array.dtype == np.uint8
    assert scans.read(MemoryImage("scan", array.astype(np.float16), STEP)).array.dtype == np.float32
    swapped = array.astype(">i2")
    np.testing.assert_array_equal(scans.read(MemoryImage("scan", swapped, STEP)).array[0], array)


def test_channels_are_the_fourth_axis() -> None:
    array = np.arange(240, dtype=np.int16).reshape(5, 6, 4, 2)
    for image in (MemoryImage("scan", array, STEP), MemoryImage("scan", nib.Nifti1Image(array, STEP))):
        volume = memory.read(image, channels_last=True)
        np.testing.assert_array_equal(volume.array[1], array[..., 1])
        with pytest.raises(MedsegError, match="FOUR_D scan"):
            memory.read(image)


def test_too_many_voxels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.arange(120, dtype=np.int16).reshape(5, 6, 4))
    image = nib.load(path)
    path.unlink()
    with pytest.raises(MedsegError, match="TOO_LARGE scan"):
        memory.read(MemoryImage("scan", image), max_voxels=100)
    with pytest.raises(MedsegError, match="FILE_MISSING scan"):
        memory.read(MemoryImage("scan", image))
