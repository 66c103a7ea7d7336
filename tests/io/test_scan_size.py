"""Sizes by headers, against what the readers read."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medseg.io import scan_size, scans


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mgz", "a.mha", "a.nrrd"])
def test_the_header_says_the_shape_that_is_read(name: str, tmp_path: Path) -> None:
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    path = tmp_path / name
    if name.endswith((".mha", ".nrrd")):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.T.copy()), str(path))
    else:
        kind = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
        nib.save(kind(array.astype(np.int32) if name.endswith("mgz") else array, np.eye(4)), path)
    size = scan_size.of_file(path, channels=2)
    read = scans.read(path)
    assert size is not None and size.shape == read.grid.shape == (5, 6, 7)
    assert size.itemsize >= read.array.itemsize and size.bytes == 2 * size.itemsize * 210


def test_an_image_has_one_slice(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    size = scan_size.of_file(tmp_path / "a.png")
    assert size is not None and (size.voxels, size.channels) == (200, 3)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.png", "none.nii"])
def test_what_is_no_scan_has_no_size(name: str, tmp_path: Path) -> None:
    if name.startswith("a"):
        (tmp_path / name).write_bytes(b"no scan at all")
    assert scan_size.of_file(tmp_path / name) is None
