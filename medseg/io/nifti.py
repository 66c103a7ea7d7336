"""NIfTI-1, NIfTI-2 (.nii, .nii.gz) and FreeSurfer (.mgh, .mgz) to volumes; label maps to NIfTI.

The headers are parsed by nibabel; the voxels are read in chunks, so that a scan is in memory once, in its own
dtype, and the compression's checksum is always verified. Lengths in metres or microns become mm; those
without a unit are taken as mm.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks, headers
from medseg.io.gzip_blocks import GzipWriter
from medseg.volume import Volume

SUFFIXES = (".nii.gz", ".nii", ".mgh", ".mgz")
WRITTEN_SUFFIXES = (".nii.gz", ".nii")

_Stream = IO[bytes] | gzip.GzipFile

_CHUNK = 2**20  # voxels, or bytes
_MAX_DEFLATE = 1040  # no deflate stream expands further than 1032:1
_PLACE_FIELDS = (
    *("qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
# NIfTI has neither float16 nor bool.
_STORED_AS: dict[str, np.dtype[Any]] = {"float16": np.dtype(np.float32), "bool": np.dtype(np.uint8)}


def can_read(path: Path) -> bool:
    """Tell by the file's name whether it is a NIfTI or FreeSurfer volume."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a scan or label map as (C, X, Y, Z) in the dtype on disk (native byte order), or scaled.

    ``channels_last`` takes a fourth axis as channels; otherwise C = 1. Scaled values are float32, or float64
    where float32 would round neighbouring values together. The array lies in memory as on disk, X fastest.
    ``source`` is the NIfTI header, or None for FreeSurfer files. Where no orientation is coded, the axes are
    taken as R, A, S with the header's voxel sizes and the origin at voxel 0.

    Raises FILE_MISSING, FILE_UNREADABLE, NOT_AN_IMAGE, TRUNCATED, NOT_SCALAR, FOUR_D, TOO_SMALL, TOO_LARGE,
    SFORM_QFORM_DISAGREE, AFFINE_INVALID, SHEARED, VALUES_TOO_LARGE.
    """
    with _opened(path) as (stream, most_bytes):
        block = stream.read(headers.LONGEST)
        layout = headers.describe(block, path, channels_last=channels_last, max_voxels=max_voxels)
        needed = layout.offset + layout.voxels * layout.dtype.itemsize
        if needed > most_bytes:  # before memory is taken for it
            raise affine_checks.truncated(path, f"{needed} bytes announced, at most {most_bytes} there")
        stream.seek(layout.offset)
        voxels = _read_voxels(stream, layout, path)
        while stream.read(_CHUNK):  # gzip compares its checksum only at the end
            pass
    array = voxels.reshape((*layout.shape, layout.channels), order="F")
    return Volume(np.moveaxis(array, -1, 0), Grid(layout.shape, layout.affine), layout.source, layout.notes)


def write(volume: Volume, path: Path) -> None:
    """Write a one-channel volume as .nii or .nii.gz, whole or not at all, the same bytes each time.

    Sform, qform, their codes and the units are copied from ``volume.source`` where that is the header of a
    NIfTI file with the grid's affine; otherwise the affine is coded as scanner coordinates. float16 is stored
    as float32, bool as uint8.
    """
    if len(volume.array) != 1 or not path.name.endswith(WRITTEN_SUFFIXES):
        raise ValueError(f"one channel goes into a .nii or .nii.gz, got {volume.array.shape} for {path.name}")
    array = volume.array[0]
    header = _header_to_write(volume, stored_dtype(array.dtype).newbyteorder("<"))
    with files.written_aside(path) as part, part.open("wb") as file:
        if path.suffix == ".nii":
            _write_stream(file, header, array)
            return
        with GzipWriter(file, small=array.dtype.itemsize == 1) as stream:  # label maps and masks
            _write_stream(stream, header, array)


def to_image(volume: Volume) -> nib.Nifti1Image:
    """Give a volume as the nibabel image that its file would be: (X, Y, Z), or (X, Y, Z, C) for C > 1."""
    array = volume.array[0] if len(volume.array) == 1 else np.moveaxis(volume.array, 0, -1)
    dtype = stored_dtype(array.dtype)
    header = _header_to_write(volume, dtype)
    header.set_data_shape(array.shape)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    affine = header.get_best_affine() if _has_place(volume) else volume.grid.affine
    return kind(array.astype(dtype, copy=False), affine, header)


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype in which NIfTI stores values of a dtype, in native byte order."""
    return _STORED_AS.get(dtype.name, dtype).newbyteorder("=")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_Stream, int]]:
    """Give ``path`` as a stream of plain bytes, and the most bytes that it can hold.

    The first bytes, not the name, tell whether it is compressed. Raises FILE_MISSING, FILE_UNREADABLE or
    TRUNCATED, also for errors while reading.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream, size * _MAX_DEFLATE
            else:
                yield file, size
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise affine_checks.truncated(path, str(error)) from error
    except OSError as error:
        raise affine_checks.refusal_to_open(path, error) from error


def scale(raw: Array, scaling: tuple[float, float], out: Array, where: Path) -> None:
    """Fill ``out`` with raw · slope + intercept; raises VALUES_TOO_LARGE if its dtype cannot hold them."""
    slope, inter = scaling
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            out[...] = raw.astype(np.float64) * slope + inter
    except FloatingPointError as error:
        details = f"slope {scaling} takes values beyond {out.dtype}"
        how_to_fix = "correct the slope and intercept in the header"
        raise MedsegError(Code.VALUES_TOO_LARGE, where, details, how_to_fix) from error


def _read_voxels(stream: _Stream, layout: headers.VoxelLayout, where: Path) -> Array:
    """Read all voxels, flat, in native byte order, scaled where the header says so."""
    size = layout.dtype.itemsize
    out = np.empty(layout.voxels, layout.value_dtype)
    for start in range(0, layout.voxels, _CHUNK):
        part = out[start : start + _CHUNK]
        block = stream.read(part.size * size)
        if len(block) < part.size * size:
            raise EOFError(f"{start + len(block) // size} of {layout.voxels} voxels there")
        raw = np.frombuffer(block, layout.dtype)
        if layout.scaling:
            scale(raw, layout.scaling, part, where)
        else:
            part[:] = raw
    return out


def _header_to_write(volume: Volume, dtype: np.dtype[Any]) -> Any:
    """Make a little-endian header for ``dtype`` that takes the place, and nothing else, from the source."""
    source, grid = volume.source, volume.grid
    kind = nib.Nifti2Header if isinstance(source, nib.Nifti2Header) else nib.Nifti1Header
    header = kind(endianness="<")
    header.set_data_shape(grid.shape)
    header.set_data_dtype(dtype)
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    if _has_place(volume):
        header["pixdim"][0] = source["pixdim"][0]
        header["pixdim"][1:4] = np.abs(source["pixdim"][1:4])
        for name in _PLACE_FIELDS:
            header[name] = source[name]
    else:
        _code_affine(header, grid)
    return header


def _has_place(volume: Volume) -> bool:
    """Tell if a volume's source is the header of a NIfTI file that gives the grid's affine."""
    source, grid = volume.source, volume.grid
    affine = headers.affine_of(source, grid.shape) if isinstance(source, nib.Nifti1Header) else None
    return affine is not None and np.allclose(affine, grid.affine, rtol=1e-6, atol=1e-4)


def _code_affine(header: Any, grid: Grid) -> None:
    """Store the grid's affine as sform and, where it is a rotation with voxel sizes, as qform too."""
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = grid.spacing
    header.set_sform(grid.affine, code=1)
    header.set_qform(grid.affine, code=1)  # sheared axes are squared by nibabel
    if headers.affine_of(header, grid.shape) is None:
        header["qform_code"] = 0


def _write_stream(stream: IO[bytes] | GzipWriter, header: Any, array: Array) -> None:
    """Write header, four bytes that say "no extensions", and voxels slice by slice with X fastest."""
    stream.write(header.binaryblock + bytes(header.single_vox_offset - len(header.binaryblock)))
    for z in range(array.shape[2]):
        stream.write(array[:, :, z].astype(header.get_data_dtype(), copy=False).tobytes(order="F"))
