"""The structure of a compressed frame, walked before a decoder in C sees it.

GDCM ends the whole process on some damaged JPEG frames instead of refusing them. So the markers of JPEG and
JPEG-LS are checked here: one frame header of the size that the data set states, tables that fit, one scan for
each turn, an end. Of JPEG 2000 the main header's sizes are checked.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

from medseg.limits import MAX_TILES

_SOI, _J2K = b"\xff\xd8", b"\xff\x4f\xff\x51"
_SOS, _EOI, _DHT, _DQT, _DRI, _LSE, _JPEG_LS, _LOSSLESS = 0xDA, 0xD9, 0xC4, 0xDB, 0xDD, 0xF8, 0xF7, 0xC3
_APP0 = 0xE0
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, _LOSSLESS, _JPEG_LS})
_FREE = frozenset({*range(0xE0, 0xF0), 0xFE})  # what applications write, and comments
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_NEXT_MARKER_LS = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_MOST_COMPONENTS, _MOST_BITS = 4, 16


@dataclass(frozen=True)
class FrameSize:
    """The size that a data set states: rows, columns, samples per pixel, and bits allocated for a sample."""

    rows: int
    columns: int
    samples: int
    bits: int


def check(frame: bytes, stated: FrameSize) -> None:
    """Raise ValueError for a JPEG, JPEG-LS or JPEG 2000 frame that is damaged or of another size.

    Frames of any other kind pass.
    """
    try:
        if frame.startswith(_SOI):
            _check_jpeg(frame, stated)
        elif (start := frame.find(_J2K, 0, 1024)) >= 0:  # behind the boxes of a JP2 file, if there are any
            _check_j2k(frame[start:], stated)
    except (struct.error, IndexError):
        raise ValueError("the compressed frame ends early") from None


def _check_jpeg(frame: bytes, stated: FrameSize) -> None:
    at, kind, scans = 2, 0, 0
    while True:
        while frame[at] == 0xFF and frame[at + 1] == 0xFF:
            at += 1
        if frame[at] != 0xFF:
            raise ValueError("a segment of the compressed frame does not end where it says")
        marker = frame[at + 1]
        if marker == _EOI and scans:
            return
        (length,) = struct.unpack_from(">H", frame, at + 2)
        segment = frame[at + 4 : at + 2 + length]
        if length < 2 or len(segment) != length - 2:
            raise ValueError("a segment of the compressed frame ends early")
        if marker in _FRAMES and not kind:
            kind = marker
            _check_frame_header(segment, stated)
        elif marker == _DHT:
            _check_huffman(segment)
        elif marker == _SOS and kind:
            scans += 1
            _check_scan(segment, stated, kind, scans)
            match = (_NEXT_MARKER_LS if kind == _JPEG_LS else _NEXT_MARKER).search(frame, at + 2 + length)
            if match is None:
                raise ValueError("the compressed frame has no end")
            at = match.start()
            continue
        elif marker == _APP0:
            _check_jfif(segment)
        elif marker not in {_DQT, _DRI, _LSE, *_FREE}:
            raise ValueError(f"an unexpected marker FF{marker:02X} in the compressed frame")
        at += 2 + length


def _check_jfif(segment: bytes) -> None:
    """A version or unit of density that JFIF does not have makes GDCM end the process."""
    if segment.startswith(b"JFIF\0") and (len(segment) < 14 or segment[5] != 1 or segment[7] > 2):
        raise ValueError("an impossible JFIF segment in the compressed frame")


def _check_frame_header(segment: bytes, stated: FrameSize) -> None:
    precision, rows, columns, components = struct.unpack_from(">BHHB", segment)
    _compare(FrameSize(rows, columns, components, precision), stated)
    if len(segment) != 6 + 3 * components:
        raise ValueError("the header of the compressed frame is damaged")
    if any(not 1 <= factor <= 4 for byte in segment[7::3] for factor in (byte >> 4, byte & 15)):
        raise ValueError("impossible sampling in the compressed frame")


def _check_huffman(segment: bytes) -> None:
    """Tables of codes: no more of a length than there is room for, none twice as long as its segment."""
    at = 0
    while at < len(segment):
        if segment[at] >> 4 > 1 or segment[at] & 15 > 3:
            raise ValueError("an impossible table of codes in the compressed frame")
        counts, room = segment[at + 1 : at + 17], 1
        for count in counts:
            room = 2 * room - count
            if room < 0:
                raise ValueError("an impossible table of codes in the compressed frame")
        if len(counts) != 16 or sum(counts) > 256 or at + 17 + sum(counts) > len(segment):
            raise ValueError("a table of codes in the compressed frame ends early")
        at += 17 + sum(counts)


def _check_scan(segment: bytes, stated: FrameSize, kind: int, scans: int) -> None:
    components = segment[0]
    if not 1 <= components <= stated.samples or len(segment) != 4 + 2 * components:
        raise ValueError(f"a scan of {components} components in the compressed frame")
    if kind in (_LOSSLESS, _JPEG_LS) and scans > stated.samples:
        raise ValueError("more scans than samples in the compressed frame")
    if kind == _LOSSLESS and not (1 <= segment[-3] <= 7 and segment[-1] & 15 < 16):
        raise ValueError(f"predictor {segment[-3]} in the compressed frame")


def _check_j2k(frame: bytes, stated: FrameSize) -> None:
    across, down, left, top, wide, high, tile_x, tile_y = struct.unpack_from(">8I", frame, 8)
    (components,) = struct.unpack_from(">H", frame, 40)
    if left >= across or top >= down or not wide or not high or tile_x > left or tile_y > top:
        raise ValueError("impossible sizes in the compressed frame")
    for n in range(components):
        _compare(FrameSize(down - top, across - left, components, (frame[42 + 3 * n] & 0x7F) + 1), stated)
    tiles = -(-(across - tile_x) // wide) * -(-(down - tile_y) // high)
    if tiles > MAX_TILES:
        raise ValueError(f"{tiles} tiles in the compressed frame")
    if any(frame[42 + 3 * n + at] != 1 for n in range(components) for at in (1, 2)):
        raise ValueError("components of several sizes in the compressed frame")


def _compare(size: FrameSize, stated: FrameSize) -> None:
    if not min(2, stated.bits) <= size.bits <= stated.bits <= _MOST_BITS:
        raise ValueError(f"a compressed frame of {size.bits} bits where {stated.bits} are allocated")
    if size != replace(stated, bits=size.bits) or size.samples > _MOST_COMPONENTS:
        raise ValueError(
            f"a compressed frame of {size.rows} × {size.columns} pixels of {size.samples} samples where the"
            f" header says {stated.rows} × {stated.columns} of {stated.samples}"
        )
