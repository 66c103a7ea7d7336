"""Stored pixels of plain slices, read without a data set: uncompressed ones and those of lossless codecs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medseg.grid import Array
from medseg.io.dicom import codecs, jpeg
from medseg.io.dicom.elements import PlainDataset, fragments
from medseg.io.dicom.values import value_of
from medseg.limits import MAX_PIXELS

if TYPE_CHECKING:
    from medseg.io.dicom.files import DicomFile

TAGS = ("BitsAllocated", "HighBit")
"""Elements that are needed besides those of a header."""

_NATIVE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class StoredPixels:
    """The start and length (bytes) of the value of a file's pixels, and how a pixel is stored."""

    syntax: str
    start: int
    length: int
    shape: tuple[int, int]
    allocated: int
    stored: int
    is_signed: bool


def locate(dataset: PlainDataset) -> StoredPixels | None:
    """The place of the pixels that :func:`read` can read; None for others."""
    allocated, stored = value_of(dataset, "BitsAllocated"), value_of(dataset, "BitsStored")
    shape = value_of(dataset, "Rows"), value_of(dataset, "Columns")
    usual = (
        (dataset.syntax == _NATIVE or dataset.syntax in codecs.SYNTAXES)
        and allocated in (8, 16)
        and isinstance(stored, int)
        and 0 < stored <= allocated
        and value_of(dataset, "HighBit") == stored - 1
        and value_of(dataset, "PixelRepresentation") in (0, 1)
        and value_of(dataset, "SamplesPerPixel") == 1
        and value_of(dataset, "PhotometricInterpretation") == "MONOCHROME2"
        and all(isinstance(side, int) and side > 0 for side in shape)
        and shape[0] * shape[1] <= MAX_PIXELS
    )
    if not usual:
        return None
    is_signed = value_of(dataset, "PixelRepresentation") == 1
    if is_signed and dataset.syntax != _NATIVE:  # codecs differ in what they make of a sign
        return None
    place = dataset.pixels_at, dataset.pixels_length
    return StoredPixels(dataset.syntax, *place, shape, allocated, stored, is_signed)


def read(file: DicomFile, pixels: StoredPixels) -> Array | None:
    """Stored values (rows, columns); None where anything is not as it should be: pydicom is to judge then."""
    with file.open() as stream:
        stream.seek(pixels.start)
        content: bytes | bytearray | None
        if pixels.syntax == _NATIVE:
            content = stream.read(_size(pixels))
        else:
            content = _decoded(fragments(stream), pixels)
    if content is None or len(content) != _size(pixels):
        return None
    kind = np.dtype(f"<{'i' if pixels.is_signed else 'u'}{pixels.allocated // 8}")
    array = np.frombuffer(content, kind).reshape(pixels.shape)
    unused = pixels.allocated - pixels.stored
    return (array << unused) >> unused if unused else array  # what unused bits hold is no value


def _size(pixels: StoredPixels) -> int:
    return pixels.shape[0] * pixels.shape[1] * pixels.allocated // 8


def _decoded(codestream: bytes | None, pixels: StoredPixels) -> bytes | bytearray | None:
    if codestream is None:
        return None
    stored = codecs.Stored(pixels.shape, pixels.allocated, pixels.stored)
    try:
        if pixels.syntax != codecs.RLE:  # before memory is taken, and a codec sees it
            jpeg.check(codestream, jpeg.FrameSize(*pixels.shape, 1, pixels.allocated))
        return codecs.decoded(pixels.syntax, codestream, stored)
    except (RuntimeError, ValueError, TypeError, IndexError, ImportError):
        return None
