"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files to volumes, through SimpleITK.

Two conventions change here and nowhere else: ITK's axes point to left, posterior, superior (LPS), ours to
right, anterior, superior (RAS+); its arrays are (Z, Y, X), ours (X, Y, Z). ITK hands out damaged compressed
voxels without complaint, so the files' compression is verified here first.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name its users know)

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks
from medseg.volume import Volume

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEAD_BYTES = 2**16
_CHUNK = 2**20
_ANY_HEADER = 32 + zlib.MAX_WBITS  # zlib or gzip, told by the stream itself


@dataclass(frozen=True)
class _Payload:
    """Where the voxels lie: a file, the first byte, and whether they are compressed."""

    path: Path
    offset: int
    compressed: bool


def can_read(path: Path) -> bool:
    """Whether the file's name ends as MetaImage or NRRD files do."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a scan or label map as (C, X, Y, Z) in its own dtype, X fastest in memory; ``source`` is None.

    ``channels_last`` takes a fourth axis as channels; otherwise C = 1. An NRRD that names no space gets the
    note NO_ORIENTATION and is used as it lies, axes as ITK reads them.

    Raises FILE_MISSING, FILE_UNREADABLE, NOT_AN_IMAGE, TRUNCATED, NOT_SCALAR, FOUR_D, TOO_SMALL, TOO_LARGE,
    AFFINE_INVALID, SHEARED.
    """
    payload = _find_payload(path)
    reader = _open(path)
    on_disk = tuple(reader.GetSize())
    shape, channels = affine_checks.spatial_shape(
        on_disk, path, channels_last=channels_last, max_voxels=max_voxels
    )
    _refuse_vectors(reader, path)
    affine = _affine(reader)
    notes = affine_checks.singleton_notes(on_disk, path) + affine_checks.check_affine(affine, path)
    if path.suffix.lower() in {".nrrd", ".nhdr"} and not reader.HasMetaDataKey("NRRD_space"):
        how_to_fix = "set the space in the header if you know it"
        notes.append(Finding(Code.NO_ORIENTATION, str(path), "no space field", how_to_fix))
    if payload:
        _check_payload(payload, channels * int(np.prod(shape)) * _voxel_bytes(reader), path)
    array = _execute(reader, path).T.reshape((*shape, channels), order="F")
    return Volume(np.moveaxis(array, -1, 0), Grid(shape, affine), None, tuple(notes))


def _not_an_image(path: Path, details: str) -> MedsegError:
    return MedsegError(Code.NOT_AN_IMAGE, path, details, "export the scan as NIfTI")


def _find_payload(path: Path) -> _Payload | None:
    """Find the voxels from the text header; None if they are spread over a list of files."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise affine_checks.refusal_to_open(path, error) from error
    if not head:
        raise affine_checks.truncated(path, "the file is empty")
    if head.startswith(b"NRRD"):
        return _nrrd_payload(path, head)
    return _meta_payload(path, head)


def _meta_payload(path: Path, head: bytes) -> _Payload | None:
    data = re.search(rb"^ElementDataFile\s*=\s*(.+?)\s*?\n", head, re.MULTILINE)
    if not data or b"DimSize" not in head:
        raise _not_an_image(path, f"begins with {head[:8]!r}, no MetaImage header")
    compressed = re.search(rb"^CompressedData\s*=\s*True", head[: data.start()], re.MULTILINE) is not None
    name = data[1].decode(errors="replace")
    if name.upper() == "LOCAL":
        return _Payload(path, data.end(), compressed)
    return _detached(path, name, compressed=compressed)


def _nrrd_payload(path: Path, head: bytes) -> _Payload | None:
    end = re.search(rb"\r?\n\r?\n", head)
    fields = head[: end.start()] if end else head
    compressed = re.search(rb"^encoding:\s*gz", fields, re.MULTILINE | re.IGNORECASE) is not None
    data = re.search(rb"^data ?file:\s*(.+?)\s*$", fields, re.MULTILINE | re.IGNORECASE)
    if data:
        return _detached(path, data[1].decode(errors="replace"), compressed=compressed)
    if not end:
        raise affine_checks.truncated(path, "the header has no end")
    return _Payload(path, end.end(), compressed)


def _detached(header: Path, name: str, *, compressed: bool) -> _Payload | None:
    if name.upper().startswith("LIST") or "%" in name:
        return None
    path = header.parent / name
    if not path.exists():
        raise MedsegError(Code.FILE_MISSING, path, f"named in {header.name}", "copy both files")
    return _Payload(path, 0, compressed)


def _check_payload(payload: _Payload, needed: int, where: Path) -> None:
    """Refuse voxels that end early, or whose compression or checksum is damaged; ``needed`` in bytes."""
    try:
        with payload.path.open("rb") as file:
            file.seek(payload.offset)
            if payload.compressed:
                there = _decompressed_size(iter(lambda: file.read(_CHUNK), b""))
            else:
                there = payload.path.stat().st_size - payload.offset
    except zlib.error as error:
        raise affine_checks.truncated(where, str(error)) from error
    except OSError as error:
        raise affine_checks.refusal_to_open(payload.path, error) from error
    if there < needed:
        raise affine_checks.truncated(where, f"{there} of {needed} bytes of voxels there")


def _decompressed_size(blocks: Any) -> int:
    """Bytes of a compressed stream; one that does not reach its checksum is a zlib.error."""
    stream, size = zlib.decompressobj(_ANY_HEADER), 0
    for block in blocks:
        size += len(stream.decompress(block))
    if not stream.eof:
        raise zlib.error("the compressed voxels end early")
    return size


def _open(path: Path) -> Any:
    """A reader that knows the header. SimpleITK says everything by RuntimeError, also "not mine"."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _not_an_image(path, _last_line(error)) from error
    return reader


def _execute(reader: Any, path: Path) -> Array:
    try:
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except RuntimeError as error:
        raise affine_checks.truncated(path, _last_line(error)) from error


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]


def _refuse_vectors(reader: Any, path: Path) -> None:
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() > 1 or "vector" in kind or "complex" in kind:
        found = f"voxels are {reader.GetNumberOfComponents()} × {kind}"
        raise MedsegError(Code.NOT_SCALAR, path, found, "convert to one grey value a voxel")


def _voxel_bytes(reader: Any) -> int:
    return int(sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent())


def _affine(reader: Any) -> Array:
    """ITK's direction, spacing and origin (2 to 4 axes) → affine (4, 4) from voxel to RAS+ mm."""
    n = reader.GetDimension()
    used = min(n, 3)
    direction = np.array(reader.GetDirection()).reshape(n, n)[:used, :used]
    lps = np.eye(4)
    lps[:used, :used] = direction * np.array(reader.GetSpacing())[:used]
    lps[:used, 3] = np.array(reader.GetOrigin())[:used]
    return np.asarray(_LPS_TO_RAS @ lps)
