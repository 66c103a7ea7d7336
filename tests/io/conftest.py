from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.grid import Array

MakeNifti = Callable[..., Path]


@pytest.fixture
def make_nifti(tmp_path: Path) -> MakeNifti:
    """Write a NIfTI file by hand: any header field can be set to anything, nibabel's checks are not asked."""

    def make(
        array: Array,
        affine: Array | None = None,
        name: str = "scan.nii",
        endian: str = "<",
        kind: Any = nib.Nifti1Header,
        **fields: Any,
    ) -> Path:
        header = kind(endianness=endian)
        header.set_data_shape(array.shape)
        header.set_data_dtype(array.dtype)
        form = np.eye(4) if affine is None else affine
        header.set_qform(form, code=1)
        header.set_sform(form, code=1)
        header["vox_offset"] = header.single_vox_offset
        pixdim = fields.pop("pixdim", {})
        for i, value in pixdim.items():
            header["pixdim"][i] = value
        for field, value in fields.items():
            header[field] = value
        block = header.binaryblock
        voxels = array.astype(array.dtype.newbyteorder(endian)).tobytes(order="F")
        content = block + bytes(header.single_vox_offset - len(block)) + voxels
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        return path

    return make


@pytest.fixture
def ramp() -> Array:
    """A (3, 4, 5) int16 array in which every voxel differs."""
    return np.arange(60, dtype=np.int16).reshape(3, 4, 5)
