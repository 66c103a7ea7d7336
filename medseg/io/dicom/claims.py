"""What a DICOM file claims about its size, checked before memory is taken for it.

The header's rows, columns and frames, a compressed frame's own header, and a deflated data set may all
announce more than there is: some hundred bytes that decode to gigabytes.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, BinaryIO

from medseg.errors import Code, MedsegError
from medseg.limits import (
    FREE_BYTES,
    MAX_EXPANSION,
    MAX_FILE_BYTES,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_TILES,
)

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_AT = 132
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_CHUNK = 2**20
_JPEG, _J2K = b"\xff\xd8", b"\xff\x4f\xff\x51"
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG's markers without a length
_SIZES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # start of frame, JPEG-LS's too


def check_size(dataset: Any, where: object) -> None:
    """Refuse frames that are too large or too many: TOO_LARGE; no frame or no pixel: DICOM_DAMAGED."""
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    frames = frame_count(dataset, where)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if rows * columns > MAX_PIXELS or samples > 4:
        details = f"{rows} × {columns} pixels of {samples} samples in a frame, the limit is {MAX_PIXELS} pixels"
        raise MedsegError(Code.TOO_LARGE, where, details, "export a smaller field of view")
    if rows < 1 or columns < 1 or frames < 1:
        raise _damaged(where, f"{frames} frames of {rows} × {columns} pixels")


def frame_count(dataset: Any, where: object) -> int:
    """The number of frames that the header states, 1 where it states none; raises TOO_LARGE."""
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if count > MAX_FRAMES:
        details = f"{count} frames in a file, the limit is {MAX_FRAMES}"
        raise MedsegError(Code.TOO_LARGE, where, details, "export the series in several files")
    return count


def check_pixel_data(dataset: Any, indices: list[int], where: object) -> None:
    """Refuse frames whose compressed form states another size than the header: DICOM_DAMAGED.

    Uncompressed pixels must be there. Raises what :func:`check_size` raises.
    """
    check_size(dataset, where)
    rows, columns, pixels = int(dataset.Rows), int(dataset.Columns), dataset.PixelData
    if not dataset.file_meta.TransferSyntaxUID.is_compressed or dataset.file_meta.TransferSyntaxUID.is_deflated:
        bits = int(dataset.BitsAllocated)
        needed = rows * columns * int(dataset.get("SamplesPerPixel", 1) or 1) * bits // 8 * (max(indices) + 1)
        if len(pixels) < needed:
            raise _damaged(where, f"{len(pixels)} bytes of pixels where the header announces {needed}")
        return
    from pydicom.encaps import get_frame

    count = frame_count(dataset, where)
    for index in indices:
        frame = get_frame(pixels, index, number_of_frames=count)
        size = compressed_size(frame)
        if size is not None and size[:2] != (rows, columns):
            details = f"a compressed frame of {size[0]} × {size[1]} pixels where the header says {rows} × {columns}"
            raise _damaged(where, details)
        if size is not None and size[2] > MAX_TILES:
            raise _damaged(where, f"a compressed frame of {size[2]} tiles")


def compressed_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and tiles that a JPEG, JPEG-LS or JPEG 2000 frame states; None for any other frame."""
    try:
        if frame.startswith(_JPEG):
            return _jpeg_size(frame)
        start = frame.find(_J2K, 0, 1024)  # behind the boxes of a JP2 file, if there are any
        if start >= 0:
            across, down, left, top, wide, high, x, y = struct.unpack_from(">8I", frame, start + 8)
            if not wide or not high:
                return 0, 0, 0
            return down - top, across - left, -(-(across - x) // wide) * -(-(down - y) // high)
    except (struct.error, IndexError):
        return 0, 0, 0
    return None


def _jpeg_size(frame: bytes) -> tuple[int, int, int]:
    at = 2
    while at + 9 <= len(frame):
        if frame[at] != 0xFF or frame[at + 1] == 0xFF:
            at += 1
            continue
        marker = frame[at + 1]
        if marker in _SIZES:
            rows, columns = struct.unpack_from(">2H", frame, at + 5)
            return rows, columns, 1
        at += 2 if marker in _ALONE else 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return 0, 0, 0


def limit_of(compressed: int) -> int:
    """Bytes to which a file of ``compressed`` bytes may expand."""
    return min(MAX_FILE_BYTES, max(FREE_BYTES, MAX_EXPANSION * compressed))


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
