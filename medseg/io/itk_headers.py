"""Text headers of MetaImage and NRRD files, checked line by line before ITK sees them.

ITK's parsers are C: an overlong line, a number too few or an unknown type makes them read or write beyond
their buffers and ends the process. So a header is refused unless each field that is a number is one, and
there are as many as the axes ask for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.limits import MAX_HEADER_BYTES, MAX_HEADER_LINE

Fields = dict[str, str]

_MOST_AXES = 16  # NRRD's own limit; MetaIO's is 10
_MOST_META_AXES = 10
_LARGEST = 2**40
"""Values of an array beyond which sizes are nonsense."""

_META_TYPES = frozenset(
    f"MET_{kind}"
    for kind in (
        *("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG", "LONG_LONG", "ULONG_LONG"),
        *("FLOAT", "DOUBLE"),
    )
)
_META_PER_AXIS = (
    "DimSize",
    "ElementSpacing",
    "ElementSize",
    "Offset",
    "Position",
    "Origin",
    "CenterOfRotation",
)
_META_SQUARE = ("TransformMatrix", "Rotation", "Orientation")
_META_FLAGS = ("CompressedData", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_META_NUMBERS = (
    *(
        "CompressedDataSize",
        "HeaderSize",
        "ElementMin",
        "ElementMax",
        "ElementNumberOfChannels",
        "ElementNBits",
    ),
    *(
        "ElementToIntensityFunctionSlope",
        "ElementToIntensityFunctionOffset",
        "CompressionLevel",
        "ID",
        "ParentID",
    ),
)
_META_WORDS = (
    *("ObjectType", "ObjectSubType", "Name", "Comment", "AcquisitionDate", "DistanceUnits", "Modality"),
    *(
        "AnatomicalOrientation",
        "AnatomicalAcquisition",
        "ElementType",
        "ElementDataFile",
        "NDims",
        "TransformType",
    ),
)
_META_KNOWN = frozenset((*_META_PER_AXIS, *_META_SQUARE, *_META_FLAGS, *_META_NUMBERS, *_META_WORDS))

_NRRD_TYPES = re.compile(
    r"(signed char|int8(_t)?|uchar|unsigned char|uint8(_t)?|short( int)?|signed short( int)?|int16(_t)?"
    r"|ushort|unsigned short( int)?|uint16(_t)?|int|signed int|int32(_t)?|uint|unsigned int|uint32(_t)?"
    r"|longlong|long long( int)?|signed long long( int)?|int64(_t)?|ulonglong|unsigned long long( int)?"
    r"|uint64(_t)?|float|double)"
)
_NRRD_KNOWN = frozenset(
    (
        *(
            "dimension",
            "type",
            "block size",
            "encoding",
            "endian",
            "content",
            "sizes",
            "spacings",
            "thicknesses",
        ),
        *(
            "axis mins",
            "axis maxs",
            "centers",
            "centerings",
            "labels",
            "units",
            "kinds",
            "min",
            "max",
            "old min",
        ),
        *(
            "old max",
            "data file",
            "line skip",
            "byte skip",
            "number",
            "sample units",
            "space",
            "space dimension",
        ),
        *("space units", "space origin", "space directions", "measurement frame"),
    )
)
_NRRD_NUMBERS = ("block size", "min", "max", "old min", "old max", "line skip", "byte skip", "number")
_NRRD_PER_AXIS = ("sizes", "spacings", "thicknesses", "axis mins", "axis maxs")
_NRRD_WORDS_PER_AXIS = ("centers", "kinds")
_NRRD_ENCODINGS = frozenset(("raw", "txt", "text", "ascii", "gz", "gzip"))
_SPACES = re.compile(
    r"(left|right)[- ](anterior|posterior)[- ](superior|inferior)([- ]time)?|[LR][AP][SI]T?"
    r"|scanner-xyz(-time)?|3d-(right|left)-handed(-time)?",
    re.IGNORECASE,
)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_VECTOR = re.compile(r"\([^()]*\)|none", re.IGNORECASE)


def check_meta(text: bytes, where: Path) -> None:
    """Refuse (NOT_AN_IMAGE) a MetaImage header, up to its last field, that is not strictly one."""
    fields = _split(text, r"[ \t]*([A-Za-z][A-Za-z0-9_]*)[ \t]*[=:][ \t]*(.*)", where)
    if unknown := sorted(fields.keys() - _META_KNOWN):
        raise _refused(where, f"unknown field {unknown[0]}")
    axes = _whole(fields.get("NDims", ""), 1, _MOST_META_AXES, "NDims", where)
    sizes = [_whole(word, 1, _LARGEST, "DimSize", where) for word in fields.get("DimSize", "").split()]
    _check_sizes(sizes, axes, where)
    if fields.get("ElementType") not in _META_TYPES:
        raise _refused(where, f"ElementType {fields.get('ElementType', 'absent')}")
    for name in _META_FLAGS:
        if fields.get(name, "True") not in ("True", "False", "true", "false", "1", "0"):
            raise _refused(where, f"{name} {fields[name]}")
    counts = {**dict.fromkeys(_META_PER_AXIS, axes), **dict.fromkeys(_META_SQUARE, axes * axes)}
    _check_numbers(fields, {**counts, **dict.fromkeys(_META_NUMBERS, 1)}, where)
    if "ElementNumberOfChannels" in fields:
        _whole(fields["ElementNumberOfChannels"], 1, _MOST_AXES, "ElementNumberOfChannels", where)


def check_nrrd(text: bytes, where: Path) -> None:
    """Refuse (NOT_AN_IMAGE) an NRRD header, up to the empty line that ends it, that is not strictly one."""
    lines = text.splitlines()
    if not re.fullmatch(rb"NRRD000[1-6]", lines[0]):
        raise _refused(where, f"begins with {lines[0][:8]!r}")
    kept = [line for line in lines[1:] if not line.startswith(b"#") and b":=" not in line]
    _check_lines(lines, where)
    fields = _split(b"\n".join(kept), r"([A-Za-z][A-Za-z ]*?):[ \t]+(.*)", where)
    fields = {_spelt(name): value for name, value in fields.items()}
    if unknown := sorted(fields.keys() - _NRRD_KNOWN):
        raise _refused(where, f"unknown field {unknown[0]}")
    axes = _whole(fields.get("dimension", ""), 1, _MOST_AXES, "dimension", where)
    sizes = [_whole(word, 1, _LARGEST, "sizes", where) for word in fields.get("sizes", "").split()]
    _check_sizes(sizes, axes, where)
    if not _NRRD_TYPES.fullmatch(fields.get("type", "").lower()):
        raise _refused(where, f"type {fields.get('type', 'absent')}")
    if fields.get("encoding", "").lower() not in _NRRD_ENCODINGS:
        raise _refused(where, f"encoding {fields.get('encoding', 'absent')}")
    if fields.get("endian", "little").lower() not in ("little", "big"):
        raise _refused(where, f"endian {fields['endian']}")
    _check_numbers(fields, {**dict.fromkeys(_NRRD_PER_AXIS, axes), **dict.fromkeys(_NRRD_NUMBERS, 1)}, where)
    for name in _NRRD_WORDS_PER_AXIS:
        if name in fields and len(fields[name].split()) != axes:
            raise _refused(where, f"{name}: {fields[name]} for {axes} axes")
    _check_space(fields, axes, where)


def _check_space(fields: Mapping[str, str], axes: int, where: Path) -> None:
    """Refuse a space that is none, and vectors that are not of its dimension."""
    space, given = fields.get("space"), fields.get("space dimension")
    if space is not None and not _SPACES.fullmatch(space):
        raise _refused(where, f"space {space}")
    dimension = 3 + (space or "").lower().endswith(("time", "t")) if space else axes
    if given is not None:
        dimension = _whole(given, 1, 8, "space dimension", where)
    counts = {"space directions": axes, "space origin": 1, "measurement frame": dimension}
    for name, count in counts.items():
        if name not in fields:
            continue
        vectors = _VECTOR.findall(fields[name])
        if len(vectors) != count or _VECTOR.sub("", fields[name]).strip():
            raise _refused(where, f"{name}: {fields[name]} is not {count} vectors")
        for vector in (v.strip("()") for v in vectors if v.lower() != "none"):
            if not _are_numbers(vector.split(","), dimension):
                raise _refused(where, f"{name}: {vector} is not {dimension} numbers")


def _spelt(name: str) -> str:
    """The name of a field as the table has it: NRRD allows some without the blank."""
    lower = " ".join(name.lower().split())
    joined = {known.replace(" ", ""): known for known in _NRRD_KNOWN}
    return joined.get(lower.replace(" ", ""), lower)


def _split(text: bytes, form: str, where: Path) -> Fields:
    lines = text.splitlines()
    _check_lines(lines, where)
    fields: Fields = {}
    for line in (line.decode("utf-8", "replace") for line in lines if line.strip()):
        match = re.fullmatch(form, line)
        if match is None:
            raise _refused(where, f"the line {line[:60]!r}")
        if match[1] in fields:
            raise _refused(where, f"the field {match[1]} twice")
        fields[match[1]] = match[2].strip()
    return fields


def _check_lines(lines: list[bytes], where: Path) -> None:
    if sum(map(len, lines)) > MAX_HEADER_BYTES or any(len(line) > MAX_HEADER_LINE for line in lines):
        raise _refused(where, f"a line of more than {MAX_HEADER_LINE} characters")
    if any(_CONTROL.search(line) for line in lines):
        raise _refused(where, "control characters in the header")


def _check_sizes(sizes: list[int], axes: int, where: Path) -> None:
    if len(sizes) != axes or math.prod(sizes) > _LARGEST:
        raise _refused(where, f"sizes {' '.join(map(str, sizes))} of {axes} axes")


def _check_numbers(fields: Mapping[str, str], counts: Mapping[str, int], where: Path) -> None:
    for name, count in counts.items():
        if name in fields and not _are_numbers(fields[name].split(), count):
            raise _refused(where, f"{name}: {fields[name][:60]!r} is not {count} number(s)")


def _are_numbers(words: list[str], count: int) -> bool:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) == count and all(len(word) < 64 for word in words)


def _whole(text: str, least: int, most: int, name: str, where: Path) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or not least <= int(text) <= most:
        raise _refused(where, f"{name} {text[:40] or 'absent'}")
    return int(text)


def _refused(where: Path, details: str) -> MedsegError:
    return MedsegError(Code.NOT_AN_IMAGE, where, f"header: {details}", "export the scan as NIfTI")
