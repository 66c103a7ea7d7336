"""Scans and label maps in memory, nibabel images and arrays, to volumes; checked as files are.

An image of NIfTI gives the volume that its file would give: the same values, dtype, affine and notes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks, headers, nifti
from medseg.volume import Volume


@dataclass(frozen=True, eq=False)
class MemoryImage:
    """A nibabel image, an array (X, Y, Z) or (X, Y, Z, C) with its ``affine`` (4, 4) to RAS+ mm, or a volume.

    ``name`` stands for it in findings.
    """

    name: str
    data: Any
    affine: Array | None = None

    def __str__(self) -> str:
        return self.name


def read(
    image: MemoryImage, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS
) -> Volume:
    """Take an image as (C, X, Y, Z), X fastest in memory; nothing is written, and the input is not changed.

    ``channels_last`` takes a fourth axis as channels. bool becomes uint8, float16 float32. Raises NOT_SCALAR,
    FOUR_D, TOO_SMALL, TOO_LARGE, SFORM_QFORM_DISAGREE, AFFINE_INVALID, SHEARED, UNITS_UNKNOWN,
    VALUES_TOO_LARGE, FORMAT_NOT_READ for Analyze, and TRUNCATED, FILE_MISSING or FILE_UNREADABLE where the
    voxels are still in a file.
    """
    if isinstance(image.data, Volume):
        return image.data
    if image.affine is not None:
        return _of_array(
            np.asarray(image.data),
            image.affine,
            Path(image.name),
            channels_last=channels_last,
            max_voxels=max_voxels,
        )
    header = image.data.header
    if isinstance(header, nib.Nifti1Header):
        return _of_nifti(image.data, Path(image.name), channels_last=channels_last, max_voxels=max_voxels)
    if isinstance(header, nib.AnalyzeHeader):
        how_to_fix = "convert it to NIfTI and check left and right, which Analyze does not store"
        raise MedsegError(Code.FORMAT_NOT_READ, image.name, "an image of Analyze", how_to_fix)
    array = _voxels(image.data.dataobj, Path(image.name))
    return _of_array(
        array, image.data.affine, Path(image.name), channels_last=channels_last, max_voxels=max_voxels
    )


def _of_array(array: Array, affine: Any, where: Path, *, channels_last: bool, max_voxels: int) -> Volume:
    dtype = headers.scalar(nifti.stored_dtype(array.dtype), where)
    shape, channels = affine_checks.spatial_shape(
        array.shape, where, channels_last=channels_last, max_voxels=max_voxels
    )
    place = np.asarray(affine, np.float64)
    notes = affine_checks.singleton_notes(array.shape, where) + affine_checks.check_affine(place, where)
    headers.check_edges(place, where, "give the affine in mm")
    return _volume(array.astype(dtype, copy=False), Grid(shape, place), channels, None, notes)


def _of_nifti(image: Any, where: Path, *, channels_last: bool, max_voxels: int) -> Volume:
    """Take an image of NIfTI by the header that a file of it would have."""
    proxy = image.dataobj
    dtype = headers.scalar(nifti.stored_dtype(np.dtype(proxy.dtype)), where)
    header = type(image)(proxy, image.affine, image.header).header  # the image's affine is in it, too
    header.set_data_dtype(dtype)
    header["magic"], header["vox_offset"] = header.single_magic, 0
    is_scaled = hasattr(proxy, "get_unscaled")
    header["scl_slope"], header["scl_inter"] = (proxy.slope, proxy.inter) if is_scaled else (1, 0)
    layout = headers.describe(header.binaryblock, where, channels_last=channels_last, max_voxels=max_voxels)
    values = _voxels(proxy, where, unscaled=is_scaled)
    if layout.scaling is None:
        values = values.astype(dtype, copy=False)
    else:
        raw, values = values, np.empty(values.shape, layout.value_dtype, order="F")
        for index in range(raw.shape[-1]):  # so that no second volume of float64 is in memory
            nifti.scale(raw[..., index], layout.scaling, values[..., index], where)
    grid = Grid(layout.shape, layout.affine)
    return _volume(values, grid, layout.channels, layout.source, list(layout.notes))


def _voxels(proxy: Any, where: Path, *, unscaled: bool = False) -> Array:
    """Read the voxels of a nibabel image, which may lie in a file still.

    Raises TRUNCATED, FILE_MISSING, FILE_UNREADABLE.
    """
    try:
        return np.asanyarray(proxy.get_unscaled() if unscaled else proxy)
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise affine_checks.refusal_to_open(where, error) from error
        raise affine_checks.truncated(where, str(error)) from error


def _volume(array: Array, grid: Grid, channels: int, source: Any, notes: list[Finding]) -> Volume:
    """Give (X, Y, Z) or (X, Y, Z, C) as a volume that lies in memory as files do: sums round alike."""
    ordered = np.asfortranarray(array).reshape((*grid.shape, channels), order="F")
    return Volume(np.moveaxis(ordered, -1, 0), grid, source, tuple(notes))
