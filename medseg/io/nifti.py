"""NIfTI-1, NIfTI-2 (.nii, .nii.gz) and FreeSurfer (.mgh, .mgz) to volumes.

The headers are parsed by nibabel; the voxels are read in chunks, so that a scan is in memory once, in its own
dtype, and the compression's checksum is always verified. Lengths in metres or microns become mm; those
without a unit are taken as mm.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip, igzip_lib

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks, headers
from medseg.io.nifti_writer import WRITTEN_SUFFIXES as WRITTEN_SUFFIXES
from medseg.io.nifti_writer import steps_image as steps_image
from medseg.io.nifti_writer import stored_dtype as stored_dtype
from medseg.io.nifti_writer import to_image as to_image
from medseg.io.nifti_writer import write as write
from medseg.io.nifti_writer import write_steps as write_steps
from medseg.volume import Volume

SUFFIXES = (".nii.gz", ".nii", ".mgh", ".mgz")

_Stream = IO[bytes] | gzip.GzipFile

_DAMAGE: tuple[Any, ...] = (EOFError, igzip_lib.IsalError, gzip.BadGzipFile)

_CHUNK = 2**20  # voxels, or bytes
_MAX_DEFLATE = 1040  # no deflate stream expands further than 1032:1


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
                with igzip.IGzipFile(fileobj=file) as stream:  # type: ignore[no-untyped-call]
                    yield stream, size * _MAX_DEFLATE
            else:
                yield file, size
    except _DAMAGE as error:
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
