"""Volumes and label maps to NIfTI files.

What comes from a NIfTI file keeps the place that its header codes; for it nibabel makes the new header. Other
volumes get a header made here: to import nibabel takes as long as to write a short series.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import numpy as np

from medseg import files
from medseg.grid import Array, Grid
from medseg.io import nifti_header
from medseg.io.gzip_blocks import GzipWriter
from medseg.volume import Volume

FULL_STEPS = 255
"""Stored value of a share of 1."""

SHARE_STEP = float(np.float32(1 / FULL_STEPS))
"""The slope of stored shares, as a NIfTI header holds it."""

WRITTEN_SUFFIXES = (".nii.gz", ".nii")

_PLACE_FIELDS = (
    *("qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
# NIfTI has neither float16 nor bool.
_STORED_AS: dict[str, np.dtype[Any]] = {"float16": np.dtype(np.float32), "bool": np.dtype(np.uint8)}


def write(volume: Volume, path: Path) -> None:
    """Write a one-channel volume as .nii or .nii.gz, whole or not at all, the same bytes each time.

    Sform, qform, their codes and the units are copied from ``volume.source`` where that is the header of a
    NIfTI file with the grid's affine; otherwise the affine is coded as scanner coordinates. float16 is stored
    as float32, bool as uint8.
    """
    if len(volume.array) != 1 or not path.name.endswith(WRITTEN_SUFFIXES):
        raise ValueError(f"one channel goes into a .nii or .nii.gz, got {volume.array.shape} for {path.name}")
    array = volume.array[0]
    dtype = stored_dtype(array.dtype).newbyteorder("<")
    header = _header_to_write(volume, dtype)
    with files.written_aside(path) as part, part.open("wb") as file:
        if path.suffix == ".nii":
            _write_stream(file, header, array, dtype)
            return
        with GzipWriter(file, small=dtype.itemsize == 1) as stream:  # label maps and masks
            _write_stream(stream, header, array, dtype)


def write_steps(volume: Volume, path: Path) -> None:
    """Write shares in steps of 1/255, (K, X, Y, Z) uint8, as a 4-D .nii.gz whose slope makes them 0 to 1.

    Its place is coded as by :func:`write`. One slice after another goes into the file.
    """
    with files.written_aside(path) as part, part.open("wb") as file, GzipWriter(file, small=True) as stream:
        _write_steps(stream, volume, _header_of_steps(volume))


def steps_image(volume: Volume) -> Any:
    """Give such shares as the nibabel image of their file: uint8 in memory, 0 to 1 when they are read."""
    import nibabel as nib

    header, content = _header_of_steps(volume), io.BytesIO()
    _write_steps(content, volume, header)
    content.seek(0)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind.from_stream(content)


def to_image(volume: Volume) -> Any:
    """Give a volume as the nibabel image that its file would be: (X, Y, Z), or (X, Y, Z, C) for C > 1."""
    import nibabel as nib

    array = volume.array[0] if len(volume.array) == 1 else np.moveaxis(volume.array, 0, -1)
    dtype = stored_dtype(array.dtype)
    header = _by_nibabel(volume.source, volume.grid, dtype)
    header.set_data_shape(array.shape)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    has_place = isinstance(volume.source, nib.Nifti1Header) and _places_at(volume.source, volume.grid)
    affine = header.get_best_affine() if has_place else volume.grid.affine
    return kind(array.astype(dtype, copy=False), affine, header)


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype in which NIfTI stores values of a dtype, in native byte order."""
    return _STORED_AS.get(dtype.name, dtype).newbyteorder("=")


def _header_to_write(volume: Volume, dtype: np.dtype[Any]) -> bytes:
    """A little-endian header for ``dtype`` that takes the place, and nothing else, from the source."""
    if not hasattr(volume.source, "binaryblock"):  # no header of a file
        plain = nifti_header.plain(volume.grid, dtype)
        if plain is not None:
            return plain
    header = _by_nibabel(volume.source, volume.grid, dtype)
    return _block(header)


def _header_of_steps(volume: Volume) -> Any:
    header = _by_nibabel(volume.source, volume.grid, np.dtype(np.uint8))
    header.set_data_shape((*volume.grid.shape, len(volume.array)))
    header["scl_slope"], header["cal_max"] = SHARE_STEP, 1
    return header


def _block(header: Any) -> bytes:
    """The bytes of nibabel's header up to the first voxel."""
    block: bytes = header.binaryblock
    return block + bytes(header.single_vox_offset - len(block))


def _by_nibabel(source: Any, grid: Grid, dtype: np.dtype[Any]) -> Any:
    import nibabel as nib

    kind = nib.Nifti2Header if isinstance(source, nib.Nifti2Header) else nib.Nifti1Header
    header = kind(endianness="<")
    header.set_data_shape(grid.shape)
    header.set_data_dtype(dtype)
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    if isinstance(source, nib.Nifti1Header) and _places_at(source, grid):
        header["pixdim"][0] = source["pixdim"][0]
        header["pixdim"][1:4] = np.abs(source["pixdim"][1:4])
        for name in _PLACE_FIELDS:
            header[name] = source[name]
    else:
        _code_affine(header, grid)
    return header


def _places_at(source: Any, grid: Grid) -> bool:
    from medseg.io import headers

    affine = headers.affine_of(source, grid.shape)
    return affine is not None and np.allclose(affine, grid.affine, rtol=1e-6, atol=1e-4)


def _code_affine(header: Any, grid: Grid) -> None:
    """Store the grid's affine as sform and, where it is a rotation with voxel sizes, as qform too."""
    from medseg.io import headers

    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = grid.spacing
    header.set_sform(grid.affine, code=1)
    header.set_qform(grid.affine, code=1)  # sheared axes are squared by nibabel
    if headers.affine_of(header, grid.shape) is None:
        header["qform_code"] = 0


def _write_steps(stream: IO[bytes] | GzipWriter, volume: Volume, header: Any) -> None:
    stream.write(_block(header))
    for one in volume.array:
        _write_slices(stream, one, one.dtype)


def _write_stream(stream: IO[bytes] | GzipWriter, header: bytes, array: Array, dtype: np.dtype[Any]) -> None:
    """Write header and voxels, slice by slice with X fastest."""
    stream.write(header)
    _write_slices(stream, array, dtype)


def _write_slices(stream: IO[bytes] | GzipWriter, array: Array, dtype: np.dtype[Any]) -> None:
    for z in range(array.shape[2]):
        stream.write(array[:, :, z].astype(dtype, copy=False).tobytes(order="F"))
