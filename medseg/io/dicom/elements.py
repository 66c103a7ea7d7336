"""A fast reading of plain single-frame data sets: the elements that are wanted, and where the pixels lie.

Most files of an export are classic slices in an explicit little-endian encoding, for which pydicom mostly
builds objects. What is in any way unusual is left to pydicom: :func:`read_plain` gives None.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

_MOST_BYTES = 2**16
"""A header that is longer is left to pydicom."""

_START = 132
_LONG = frozenset([b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"])
_TEXT = frozenset([b"AE", b"AS", b"CS", b"DA", b"DT", b"LO", b"PN", b"SH", b"TM", b"UI"])
_BINARY = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d"}
_NUMBERS: dict[bytes, Callable[[str], float]] = {b"DS": float, b"IS": int}
_OTHER_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
"""Implicit, big endian, deflated."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX, _PIXELS = 0x00020010, 0x7FE00010


class _UnusualError(Exception):
    """Something that pydicom is to judge."""


@dataclass(frozen=True)
class Element:
    """An element's type and bytes; its value as pydicom gives it."""

    kind: bytes
    content: bytes

    @cached_property
    def value(self) -> Any:
        """Text, a number, or a list of several; empty text or None for nothing."""
        if self.kind in _BINARY:
            form = _BINARY[self.kind]
            count, rest = divmod(len(self.content), struct.calcsize(form))
            if rest:
                raise _UnusualError
            return _one_or_all(list(struct.unpack(f"<{count}{form}", self.content)))
        if self.kind not in _TEXT and self.kind not in _NUMBERS:
            raise _UnusualError
        text = self.content.decode("ascii").rstrip(" \0")
        if not text:
            return "" if self.kind in _TEXT else None
        parts: list[Any] = text.split("\\")
        if self.kind == b"PN" and len(parts) > 1:
            raise _UnusualError
        if any(part != part.strip(" \0\t\r\n") for part in parts) or not text.isprintable():
            raise _UnusualError
        if self.kind in _NUMBERS:
            parts = [_NUMBERS[self.kind](part) for part in parts]
        return _one_or_all(parts)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values or None


@dataclass(frozen=True)
class PlainDataset:
    """The wanted elements of a data set by tag, its transfer syntax, and where its pixels' value begins."""

    elements: dict[int, Element]
    syntax: str
    pixels_at: int
    pixels_length: int

    def get(self, tag: int) -> Element | None:
        """The element of a tag."""
        return self.elements.get(tag)


def read_plain(stream: BinaryIO, wanted: frozenset[int]) -> PlainDataset | None:
    """Read the wanted elements of an explicit little-endian data set up to its pixels.

    None where the file is anything else, has one of them in a form that this module does not know, or is
    damaged.
    """
    head = stream.read(_MOST_BYTES)
    if head[128:_START] != b"DICM":
        return None
    try:
        return _walk(head, wanted)
    except (_UnusualError, struct.error, ValueError):
        return None


def _walk(head: bytes, wanted: frozenset[int]) -> PlainDataset:
    elements: dict[int, Element] = {}
    syntax = ""
    for tag, kind, start, length in _elements(head, _START):
        if tag == _SYNTAX:
            syntax = Element(kind, head[start : start + length]).value
        elif tag == _PIXELS:
            if not syntax or syntax in _OTHER_SYNTAXES:
                raise _UnusualError
            return PlainDataset(elements, syntax, start, length)
        elif tag in wanted:
            element = Element(kind, head[start : start + length])
            element.value  # noqa: B018 - an unusual one shows here
            elements[tag] = element
    raise _UnusualError


def _elements(head: bytes, at: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Tag, type, start and length of each element; sequences are stepped over."""
    before = 0
    while True:
        tag, kind, start, length = _element(head, at)
        if tag <= before or tag > _PIXELS:
            raise _UnusualError
        yield tag, kind, start, length
        before, at = tag, _end(head, kind, start, length)


def _element(head: bytes, at: int) -> tuple[int, bytes, int, int]:
    group, number, kind, length = struct.unpack_from("<HH2sH", head, at)
    if not (kind.isalpha() and kind.isupper()):
        raise _UnusualError
    if kind in _LONG:
        (length,) = struct.unpack_from("<I", head, at + 8)
        return group << 16 | number, kind, at + 12, length
    return group << 16 | number, kind, at + 8, length


def _end(head: bytes, kind: bytes, start: int, length: int) -> int:
    if length != _UNDEFINED:
        return start + length
    if kind != b"SQ":
        raise _UnusualError
    return _end_of_sequence(head, start)


def _end_of_sequence(head: bytes, at: int) -> int:
    while True:
        tag, length = _item(head, at)
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise _UnusualError
        at = _end_of_item(head, at) if length == _UNDEFINED else at + length


def _end_of_item(head: bytes, at: int) -> int:
    while _item(head, at)[0] != _ITEM_END:
        _, kind, start, length = _element(head, at)
        at = _end(head, kind, start, length)
    return at + 8


def _item(head: bytes, at: int) -> tuple[int, int]:
    group, number, length = struct.unpack_from("<HHI", head, at)
    return group << 16 | number, length


def fragments(stream: BinaryIO) -> bytes | None:
    """The fragments of one encapsulated frame, joined, from a stream at their begin; None if cut off."""
    parts: list[bytes] = []
    is_table = True
    while len(header := stream.read(8)) == 8:
        tag, length = _item(header, 0)
        if tag == _SEQUENCE_END:
            return b"".join(parts)
        if tag != _ITEM or length == _UNDEFINED:
            return None
        content = stream.read(length)
        if len(content) < length:
            return None
        if not is_table:
            parts.append(content)
        elif content not in (b"", bytes(4)):  # the offset of the one frame is 0
            return None
        is_table = False
    return None
