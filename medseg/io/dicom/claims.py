"""The sizes that a DICOM file claims, checked before memory is taken for them.

The header's rows, columns and frames, a compressed frame's own header, and a deflated data set may all
announce more than there is: some hundred bytes that decode to gigabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

from medseg.errors import Code, MedsegError
from medseg.io.dicom import jpeg
from medseg.io.dicom.values import value_of
from medseg.limits import (
    FREE_BYTES,
    MAX_EXPANSION,
    MAX_FILE_BYTES,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_READS,
)

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_AT = 132
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_CHUNK = 2**20
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def check_size(dataset: Any, where: object) -> None:
    """Refuse frames that are too large or too many: TOO_LARGE; no frame or no pixel: DICOM_DAMAGED."""
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    frames = frame_count(dataset, where)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if rows * columns > MAX_PIXELS or samples > 4:
        details = (
            f"{rows} × {columns} pixels of {samples} samples in a frame, the limit is {MAX_PIXELS} pixels"
        )
        raise MedsegError(Code.TOO_LARGE, where, details, "export a smaller field of view")
    if rows < 1 or columns < 1 or frames < 1:
        raise _damaged(where, f"no frame, or one of {rows} × {columns} pixels")


def frame_count(dataset: Any, where: object) -> int:
    """The number of frames that the header states, 1 where it states none; raises TOO_LARGE."""
    count = int(value_of(dataset, "NumberOfFrames", 1) or 1)
    if count > MAX_FRAMES:
        details = f"more frames in a file than the limit, {MAX_FRAMES}"
        raise MedsegError(Code.TOO_LARGE, where, details, "export the series in several files")
    return count


def check_pixel_data(dataset: Any, indices: Sequence[int], where: object) -> None:
    """Refuse frames whose compressed form states another size than the header: DICOM_DAMAGED.

    Uncompressed pixels must be there. Raises what :func:`check_size` raises.
    """
    check_size(dataset, where)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    pixels = next((dataset[name].value for name in _PIXELS if name in dataset), b"")
    if (
        not dataset.file_meta.TransferSyntaxUID.is_compressed
        or dataset.file_meta.TransferSyntaxUID.is_deflated
    ):
        bits = int(dataset.BitsAllocated)
        needed = rows * columns * int(dataset.get("SamplesPerPixel", 1) or 1) * bits // 8 * (max(indices) + 1)
        if len(pixels) < needed:
            raise _damaged(where, f"{len(pixels)} bytes of pixels where the header announces {needed}")
        return
    from pydicom.encaps import get_frame

    count = frame_count(dataset, where)
    stated = jpeg.FrameSize(
        rows, columns, int(dataset.get("SamplesPerPixel", 1) or 1), int(dataset.BitsAllocated)
    )
    for index in indices:
        try:
            frame = get_frame(pixels, index, number_of_frames=count)
        except Exception as error:  # the parser meets any bytes, and raises what it likes for them
            raise _damaged(
                where, f"its compressed frames cannot be told apart ({type(error).__name__})"
            ) from None
        try:
            jpeg.check(frame, stated)
        except ValueError as error:
            raise _damaged(where, str(error)) from None


def limit_of(compressed: int) -> int:
    """Bytes to which a file of ``compressed`` bytes may expand."""
    return min(MAX_FILE_BYTES, max(FREE_BYTES, MAX_EXPANSION * compressed))


class BoundedReads:
    """A stream for a parser that reads element by element; raises TOO_LARGE after :data:`MAX_READS` of them.

    A file of zeros is a data set of empty elements, millions in each ten megabytes.
    """

    def __init__(self, stream: BinaryIO, where: object) -> None:
        self._stream, self._where, self._left = stream, where, MAX_READS
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        """Read as the stream does."""
        self._left -= 1
        if self._left < 0:
            details = f"a header of more than {MAX_READS // 2} elements"
            raise MedsegError(Code.TOO_LARGE, self._where, details, "export it again")
        return self._stream.read(size)


def check_deflated(stream: BinaryIO, where: object) -> None:
    """Refuse a data set of the deflated transfer syntax that expands too far; leaves ``stream`` at its start.

    Raises TOO_LARGE, and TRUNCATED for damaged compression.
    """
    head = stream.read(1024)
    if _DEFLATED not in head or head[_META_AT : _META_AT + 8] != _META_LENGTH:
        stream.seek(0)
        return
    begin = _META_AT + 12 + int.from_bytes(head[_META_AT + 8 : _META_AT + 12], "little")
    limit = limit_of(stream.seek(0, 2) - begin)
    stream.seek(begin)
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while not inflate.eof and (block := inflate.unconsumed_tail or stream.read(_CHUNK)):
            size += len(inflate.decompress(block, _CHUNK))
            if size > limit:
                raise too_large(where, limit)
    except zlib.error as error:
        details = f"damaged compression ({error})"
        raise MedsegError(Code.TRUNCATED, where, details, "copy it again") from None
    stream.seek(0)


def too_large(where: object, limit: int) -> MedsegError:
    """The refusal of a file that expands beyond ``limit`` bytes."""
    details = f"more than {limit / 2**20:.0f} MiB once decompressed"
    return MedsegError(Code.TOO_LARGE, where, details, "unpack it and check what it holds")


def _damaged(where: object, details: str) -> MedsegError:
    return MedsegError(Code.DICOM_DAMAGED, where, details, "export it again")
