"""NIfTI-1, NIfTI-2 (.nii, .nii.gz) and FreeSurfer (.mgh, .mgz) to volumes.

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

import numpy as np
from isal import igzip, igzip_lib

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks, headers
from medseg.io.nifti_writer import WRITTEN_SUFFIXES as WRITTEN_SUFFIXES
from medseg.io.nifti_writer import steps_image as steps_image
from medseg.io.nifti_writer import stored_dtype as stored_dtype
from medseg.io.nifti_writer import to_image as to_image
from medseg.io.nifti_writer import write as write
from medseg.io.nifti_writer import write_steps as write_steps
from medseg.limits import MAX_SURPLUS_BYTES
from medseg.volume import Volume

SUFFIXES = (".nii.gz", ".nii", ".mgh", ".mgz")

_Stream = IO[bytes] | gzip.GzipFile

_GZIP = b"\x1f\x8b"
_DAMAGE: tuple[Any, ...] = (EOFError, zlib.error, igzip_lib.IsalError, gzip.BadGzipFile)

_CHUNK = 2**20  # voxels, or bytes
_START = 2**16  # compressed bytes that hold the header
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
    with _opened(path) as (stream, size, expansion, head):
        layout = headers.describe(head, path, channels_last=channels_last, max_voxels=max_voxels)
        needed = layout.offset + layout.voxels * layout.dtype.itemsize
        if needed > size * expansion:  # before memory is taken for it
            raise affine_checks.truncated(path, f"{needed} bytes announced, at most {size * expansion} there")
        if layout.offset > MAX_SURPLUS_BYTES:
            raise _surplus(path, "before the first voxel")
        affine_checks.check_surplus(size, needed, path)
        stream.seek(layout.offset)
        voxels = _read_voxels(stream, layout, path)
        _read_to_end(stream, path)
    array = voxels.reshape((*layout.shape, layout.channels), order="F")
    return Volume(np.moveaxis(array, -1, 0), Grid(layout.shape, layout.affine), layout.source, layout.notes)


def _read_to_end(stream: _Stream, path: Path) -> None:
    """Read what follows the voxels: gzip compares its checksum only at the end."""
    surplus = 0
    while block := stream.read(_CHUNK):
        surplus += len(block)
        if surplus > MAX_SURPLUS_BYTES:
            raise _surplus(path, "after the last voxel")


def _surplus(path: Path, place: str) -> MedsegError:
    details = f"more than {MAX_SURPLUS_BYTES // 2**20} MiB {place}"
    return MedsegError(Code.TOO_LARGE, path, details, "copy or export the file again")


def layout_of(path: Path) -> headers.VoxelLayout:
    """Read the header alone, with a fourth axis as channels. Raises what :func:`read` raises for a header."""
    with _opened(path) as (*_, head):
        return headers.describe(head, path, channels_last=True, max_voxels=affine_checks.MAX_VOXELS)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_Stream, int, int, bytes]]:
    """Give ``path`` as a stream of plain bytes, its size, how many times larger that can be, its first bytes.

    The first bytes, not the name, tell whether it is compressed. Raises FILE_MISSING, FILE_UNREADABLE or
    TRUNCATED, also for errors while reading.
    """
    try:
        with files.open_regular(path) as file:
            size = path.stat().st_size
            start = file.read(_START)
            file.seek(0)
            if start.startswith(_GZIP):
                head = _first_bytes(start)
                with igzip.IGzipFile(fileobj=file) as stream:  # type: ignore[no-untyped-call]
                    yield stream, size, _MAX_DEFLATE, head
            else:
                yield file, size, 1, start[: headers.LONGEST]
    except _DAMAGE as error:
        raise affine_checks.truncated(path, str(error)) from error
    except OSError as error:
        raise affine_checks.refusal_to_open(path, error) from error


def _first_bytes(start: bytes) -> bytes:
    """Decompress a header from a file's first bytes: a stream looks for a next member, however far it may be.

    Raises zlib.error.
    """
    head = b""
    while start.startswith(_GZIP) and len(head) < headers.LONGEST:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        head += member.decompress(start, headers.LONGEST - len(head))
        start = member.unused_data
    return head


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
