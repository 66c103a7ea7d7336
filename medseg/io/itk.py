"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files to volumes, through SimpleITK.

Two conventions change here and nowhere else: ITK's axes point to left, posterior, superior (LPS), ours to
right, anterior, superior (RAS+); its arrays are (Z, Y, X), ours (X, Y, Z). ITK ignores units of length, reads
files of voxels wherever the header says, and hands out damaged or missing voxels without complaint, so the
header's text and the voxels' files are checked here first.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medseg import files
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks, itk_headers
from medseg.limits import MAX_HEADER_BYTES, MAX_SURPLUS_BYTES
from medseg.volume import Volume

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHUNK = 2**20
_ANY_HEADER = 32 + zlib.MAX_WBITS  # zlib or gzip, told by the stream itself
_MOST_FILES = 10_000
_NUMBERED = re.compile(r"[^%]*%0?[0-9]?d[^%]*")
_DRIVE = re.compile(r"[A-Za-z]:")

_UNITS_MM = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 0.001),
    **dict.fromkeys(("micrometre", "micrometres"), 0.001),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
    **dict.fromkeys(("", "?", "???", "none", "unknown", "px", "pixel", "pixels", "voxel", "voxels"), 1.0),
}
"""mm in units of length as headers spell them; no unit counts as mm."""


@dataclass(frozen=True)
class _Payload:
    """The files that hold the voxels, in equal parts, each from a byte on.

    ``units`` of length are those of the axes of space, or (``per_axis``) of the array's axes.
    """

    paths: tuple[Path, ...]
    offset: int
    compressed: bool
    units: tuple[str, ...] = ()
    per_axis: bool = False


def can_read(path: Path) -> bool:
    """Tell by the file's name whether it is a MetaImage or NRRD file."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a scan or label map as (C, X, Y, Z) in its own dtype, X fastest in memory; ``source`` is None.

    ``channels_last`` takes a fourth axis as channels; otherwise C = 1. An NRRD that names no space gets the
    note NO_ORIENTATION and is used as it lies, axes as ITK reads them. Lengths in another unit than mm are
    converted, with the note UNITS_CONVERTED.

    Raises FILE_MISSING, FILE_UNREADABLE, DATA_FILE_OUTSIDE, NOT_AN_IMAGE, TRUNCATED, NOT_SCALAR, FOUR_D,
    TOO_SMALL, TOO_LARGE, UNITS_UNKNOWN, AFFINE_INVALID, SHEARED.
    """
    payload = _find_payload(path)
    reader = _open(path)
    on_disk = tuple(reader.GetSize())
    shape, channels = affine_checks.spatial_shape(
        on_disk, path, channels_last=channels_last, max_voxels=max_voxels
    )
    _refuse_vectors(reader, path)
    affine, notes = _in_mm(_affine(reader), payload, path)
    notes += affine_checks.singleton_notes(on_disk, path) + affine_checks.check_affine(affine, path)
    if path.suffix.lower() in {".nrrd", ".nhdr"} and not reader.HasMetaDataKey("NRRD_space"):
        how_to_fix = "set the space in the header if you know it"
        notes.append(Finding(Code.NO_ORIENTATION, str(path), "no space field", how_to_fix))
    _check_payload(payload, channels * int(np.prod(shape)) * _voxel_bytes(reader), path)
    array = _execute(reader, path).T.reshape((*shape, channels), order="F")
    return Volume(np.moveaxis(array, -1, 0), Grid(shape, affine), None, tuple(notes))


def axes_of(path: Path) -> tuple[int, ...]:
    """Read the lengths of the axes by the header alone. Raises what :func:`read` raises for a header."""
    _find_payload(path)
    return tuple(_open(path).GetSize())


def _not_an_image(path: Path, details: str) -> MedsegError:
    return MedsegError(Code.NOT_AN_IMAGE, path, details, "export the scan as NIfTI")


def _find_payload(path: Path) -> _Payload:
    """Find the voxels and the units of length by the text header. Raises the codes of :func:`read`."""
    try:
        with files.open_regular(path) as file:
            head = file.read(MAX_HEADER_BYTES)
    except OSError as error:
        raise affine_checks.refusal_to_open(path, error) from error
    if not head:
        raise affine_checks.truncated(path, "the file is empty")
    if head.startswith(b"NRRD"):
        return _nrrd_payload(path, head)
    return _meta_payload(path, head)


def _meta_payload(path: Path, head: bytes) -> _Payload:
    # MetaIO takes blanks before a field and ":" for "="; the first field of this name ends its header.
    data = re.search(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(.*?)[ \t\r]*\n", head, re.MULTILINE)
    if not data or b"DimSize" not in head:
        raise _not_an_image(path, f"begins with {head[:8]!r}, no MetaImage header")
    itk_headers.check_meta(head[: data.end()], path)
    fields = head[: data.start()]
    compressed = re.search(rb"^[ \t]*CompressedData\s*[=:]\s*True", fields, re.MULTILINE) is not None
    unit = re.search(rb"^[ \t]*DistanceUnits\s*[=:][ \t]*(.*?)\s*$", fields, re.MULTILINE)
    units = (unit[1].decode(errors="replace"),) * 3 if unit else ()
    value = data[1].decode(errors="replace")
    if value.upper() == "LOCAL":
        return _Payload((path,), data.end(), compressed, units)
    return _Payload(_detached(path, value, head[data.end() :]), 0, compressed, units)


def _nrrd_payload(path: Path, head: bytes) -> _Payload:
    end = re.search(rb"\r?\n\r?\n", head)
    fields = head[: end.start()] if end else head
    compressed = _nrrd_field(fields, b"encoding").lower().startswith("gz")
    space_units = _nrrd_field(fields, b"space ?units")
    units = tuple(re.findall(r'"([^"]*)"', space_units or _nrrd_field(fields, b"units")))
    data = re.search(rb"^data ?file:[ \t]*(.*?)[ \t\r]*$", fields, re.MULTILINE | re.IGNORECASE)
    is_list = data is not None and data[1].upper().split()[:1] == [b"LIST"]
    itk_headers.check_nrrd(fields[: data.end()] if data and is_list else fields, path)
    if data:
        beside = _detached(path, data[1].decode(errors="replace"), fields[data.end() :])
        return _Payload(beside, 0, compressed, units, not space_units)
    if not end:
        raise affine_checks.truncated(path, "the header has no end")
    return _Payload((path,), end.end(), compressed, units, not space_units)


def _nrrd_field(fields: bytes, name: bytes) -> str:
    """Give the value of a field ``name: value`` (not ``name:=value``), empty where there is none."""
    value = re.search(rb"^" + name + rb":[ \t]+(.*?)\s*$", fields, re.MULTILINE | re.IGNORECASE)
    return value[1].decode(errors="replace") if value else ""


def _detached(header: Path, value: str, following: bytes) -> tuple[Path, ...]:
    """Give the files that a header names for its voxels: one, a LIST in the lines after, or a pattern.

    Raises DATA_FILE_OUTSIDE unless all lie in the header's folder, and FILE_MISSING.
    """
    words = value.split()
    if not words:
        raise _not_an_image(header, "it names no file of voxels")
    if words[0].upper() == "LIST":
        names = [line.strip() for line in following.decode(errors="replace").splitlines() if line.strip()]
    elif "%" in value:  # MetaIO takes it for a pattern of C's printf, and crashes on one that is none
        names = _numbered(header, words)
    else:
        names = [value]
    for name in names:
        if _leaves_folder(name):
            how_to_fix = "put the file of voxels beside the header, and name it there without a folder"
            raise MedsegError(Code.DATA_FILE_OUTSIDE, header, f"it names {name}", how_to_fix)
    paths = tuple(header.parent / name for name in names)
    if not paths:
        raise MedsegError(
            Code.FILE_MISSING, header, "its LIST names no file of voxels", "copy the header again"
        )
    for path in paths:
        if not path.exists():
            raise MedsegError(Code.FILE_MISSING, path, f"named in {header.name}", "copy both files")
    return paths


def _numbered(header: Path, words: list[str]) -> list[str]:
    """Expand ``a%03d.raw first last step``; the step is 1 where it is left out."""
    try:
        first, last, step = (int(word) for word in (*words[1:3], *(words[3:4] or ["1"])))
        numbers = range(first, last + 1, step)[:_MOST_FILES]
    except ValueError as error:
        raise _not_an_image(header, f"files of voxels {' '.join(words)}: {error}") from error
    if not _NUMBERED.fullmatch(words[0]):
        raise _not_an_image(header, f"files of voxels {' '.join(words)}")
    return [words[0] % number for number in numbers]


def _leaves_folder(name: str) -> bool:
    """Tell whether a file's name, by Unix's or Windows's rules, leads out of the folder it is in."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or parts[0].startswith("~") or _DRIVE.match(name) is not None or ".." in parts


def _in_mm(affine: Array, payload: _Payload, path: Path) -> tuple[Array, list[Finding]]:
    """Convert an affine (4, 4) in the header's units to mm; give it and the note about it."""
    units = [unit.strip() for unit in payload.units[:3]]
    if unknown := [unit for unit in units if unit.lower() not in _UNITS_MM]:
        details = f"unit of length {unknown[0]!r}"
        raise MedsegError(Code.UNITS_UNKNOWN, path, details, "state the lengths in mm and name that unit")
    factors = [_UNITS_MM[unit.lower()] for unit in units]
    if all(factor == 1 for factor in factors):
        return affine, []
    factors += [1.0] * (3 - len(factors))
    other = next(i for i, factor in enumerate(factors) if factor != 1)
    note = affine_checks.units_note(units[other], factors[other], path)
    scale = np.diag([*factors, 1.0])
    return np.asarray(affine @ scale if payload.per_axis else scale @ affine), note


def _check_payload(payload: _Payload, needed: int, where: Path) -> None:
    """Refuse voxels that end early or expand too far, or whose compression or checksum is damaged.

    ``needed`` is in bytes.
    """
    needed_of_each = -(-needed // len(payload.paths))
    for path in payload.paths:
        try:
            with files.open_regular(path) as file:
                file.seek(payload.offset)
                size = path.stat().st_size - payload.offset
                affine_checks.check_surplus(size, needed_of_each, where)
                if payload.compressed:
                    size = _decompressed_size(file, needed_of_each + MAX_SURPLUS_BYTES)
        except zlib.error as error:
            raise affine_checks.truncated(where, str(error)) from error
        except OSError as error:
            raise affine_checks.refusal_to_open(path, error) from error
        if size > needed_of_each + MAX_SURPLUS_BYTES and payload.compressed:
            details = f"more than {MAX_SURPLUS_BYTES // 2**20} MiB after the last voxel in {path.name}"
            raise MedsegError(Code.TOO_LARGE, where, details, "copy or export the file again")
        if size < needed_of_each:
            raise affine_checks.truncated(where, f"{size} of {needed_of_each} bytes of voxels in {path.name}")


def _decompressed_size(file: BinaryIO, most: int) -> int:
    """Count the bytes of a compressed stream until there are more than ``most``.

    Raises zlib.error where it does not reach its checksum.
    """
    stream, size = zlib.decompressobj(_ANY_HEADER), 0
    while size <= most and not stream.eof:
        block = stream.unconsumed_tail or file.read(_CHUNK)
        plain = stream.decompress(block, _CHUNK)
        if not (block or plain):
            break
        size += len(plain)
    if not stream.eof and size <= most:
        raise zlib.error("the compressed voxels end early")
    return size


def _open(path: Path) -> Any:
    """Make a reader that knows the header. SimpleITK says everything by RuntimeError, also "not mine"."""
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _not_an_image(path, _last_line(error)) from error
    return reader


def _execute(reader: Any, path: Path) -> Array:
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    try:
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except RuntimeError as error:
        raise affine_checks.truncated(path, _last_line(error)) from error


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]


def _refuse_vectors(reader: Any, path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() > 1 or "vector" in kind or "complex" in kind:
        details = f"voxels are {reader.GetNumberOfComponents()} × {kind}"
        raise MedsegError(Code.NOT_SCALAR, path, details, "convert to one grey value per voxel")


def _voxel_bytes(reader: Any) -> int:
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    return int(sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent())


def _affine(reader: Any) -> Array:
    """Turn ITK's direction, spacing and origin (2 to 4 axes) into an affine (4, 4) from voxel to RAS+."""
    axes = reader.GetDimension()
    spatial = min(axes, 3)
    direction = np.array(reader.GetDirection()).reshape(axes, axes)[:spatial, :spatial]
    lps = np.eye(4)
    lps[:spatial, :spatial] = direction * np.array(reader.GetSpacing())[:spatial]
    lps[:spatial, 3] = np.array(reader.GetOrigin())[:spatial]
    return np.asarray(_LPS_TO_RAS @ lps)
