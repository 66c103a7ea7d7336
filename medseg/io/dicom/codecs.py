"""Codestreams of single unsigned frames to bytes: JPEG-LS and JPEG through codecs, RLE by this module.

Each function gives little-endian pixels, row by row, or raises ValueError, RuntimeError, TypeError or
IndexError for what it cannot decode. :func:`medseg.io.dicom.jpeg.check` comes before a codec.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

JPEG_LS, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
SYNTAXES = frozenset({JPEG_LS, RLE, JPEG_2000, *JPEG_LOSSLESS})
"""Transfer syntaxes that are decoded here, all without loss."""

BY_GDCM = frozenset({JPEG_2000, *JPEG_LOSSLESS})
"""Those whose codecs end the process on some damaged frames."""

_SIZ = b"\xff\x4f\xff\x51"
_DEPTH_AT = 42
_RLE_HEADER = 64


@dataclass(frozen=True)
class Stored:
    """The size of a frame, and how many bits of a sample are allocated and hold its value."""

    shape: tuple[int, int]
    allocated: int
    bits: int


def decoded(syntax: str, codestream: bytes, stored: Stored) -> bytes | bytearray:
    """The pixels of a frame."""
    if syntax == RLE:
        return _rle(codestream, stored)
    return _jpeg_ls(codestream, stored) if syntax == JPEG_LS else _by_gdcm(syntax, codestream, stored)


def _jpeg_ls(codestream: bytes, stored: Stored) -> bytearray:
    import jpeg_ls

    content: bytearray
    content, details = jpeg_ls.decode_pixel_data(codestream)
    stated = (details["height"], details["width"], details["components"], details["bits_per_sample"])
    if stated != (*stored.shape, 1, stored.bits) or (stored.bits > 8) != (stored.allocated == 16):
        raise ValueError("a codestream of another kind than the header says")
    return content


def _by_gdcm(syntax: str, codestream: bytes, stored: Stored) -> bytes:
    bits = _depth(codestream, stored) if syntax == JPEG_2000 else stored.bits
    import gdcm

    fragment, sequence = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(codestream)
    sequence.AddFragment(fragment)
    element, result = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010)), gdcm.DataElement()
    element.SetValue(sequence.__ref__())
    codec, (rows, columns) = _codec(syntax), stored.shape
    codec.SetNumberOfDimensions(2)
    codec.SetDimensions((columns, rows, 1))
    codec.SetPhotometricInterpretation(_grey())
    codec.SetPixelFormat(gdcm.PixelFormat(1, stored.allocated, bits, bits - 1, 0))
    size = rows * columns * stored.allocated // 8
    value = result.GetByteValue() if codec.Decode(element, result) else None
    if value is None or int(str(value.GetLength())) != size:
        raise ValueError("not decoded, or to another size")
    # Copied from where it lies: gdcm would make text of it, which takes as long as to decode it.
    return ctypes.string_at(int(value.GetVoidPointer()), size)


def _depth(codestream: bytes, stored: Stored) -> int:
    """The bits of a sample as JPEG 2000 states them: encoders often write all that are allocated."""
    bits = codestream[_DEPTH_AT] + 1
    if not codestream.startswith(_SIZ) or (bits > 8) != (stored.allocated == 16) or bits > 16:
        raise ValueError("inside a JP2 file, signed, or of another depth than the header says")
    return bits


def load(syntax: str) -> None:
    """Import what decodes a syntax of GDCM's."""
    _codec(syntax)


@cache
def _grey() -> Any:
    import gdcm

    return gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2"))


def _codec(syntax: str) -> Any:
    import gdcm

    return gdcm.JPEG2000Codec() if syntax == JPEG_2000 else gdcm.JPEGCodec()


def _rle(codestream: bytes, stored: Stored) -> bytearray:
    """One segment for each byte of a pixel, the highest first (PS3.5, annex G)."""
    if len(codestream) < _RLE_HEADER:
        raise ValueError("no header of segments")
    count, *offsets = struct.unpack_from("<16I", codestream)
    if count != stored.allocated // 8:
        raise ValueError(f"{count} segments")
    size = stored.shape[0] * stored.shape[1]
    content = bytearray(size * count)
    ends = [*offsets[1:count], len(codestream)]
    for number, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        content[count - 1 - number :: count] = _unpacked(codestream[start:end], size)
    return content


def _unpacked(segment: bytes, size: int) -> bytearray:
    """Runs of a segment: up to 128 bytes as they are, or one byte up to 128 times."""
    content, at = bytearray(), 0
    while len(content) < size:
        control = segment[at]
        if control < 128:
            content += segment[at + 1 : at + 2 + control]
            at += control + 2
        elif control > 128:
            content += segment[at + 1 : at + 2] * (257 - control)
            at += 2
        else:
            at += 1
    if len(content) != size:
        raise ValueError("a run beyond the last pixel")
    return content
