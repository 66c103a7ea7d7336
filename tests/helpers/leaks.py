"""A scan of everything that a command wrote for words that name a patient, whatever they are packed in.

    python -m tests.helpers.leaks OUT WORD… [--pattern REGEX]

prints each place outside `private/`, SEG and SR that holds one of the words, and ends with 1 if there is any.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import re
import sqlite3
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib

MAY_NAME_PATIENTS = (".seg.dcm", ".sr.dcm")
"""Results that go back into the patient's record."""

_PNG = b"\x89PNG\r\n\x1a\n"
_SHORTEST = 4
_SHORTEST_IN_BINARY = 8
"""Characters of the shortest part of a name that is looked for, and bytes of it among voxels."""

_GZIP_HEADER = 512
"""Bytes at the beginning of a gzip file that hold its name and comment."""


@dataclass(frozen=True)
class Words:
    """What must not be seen: texts in every spelling, and regular expressions over plain text."""

    texts: tuple[str, ...]
    patterns: tuple[re.Pattern[bytes], ...] = ()

    @classmethod
    def of(cls, values: Iterable[str], patterns: Sequence[str] = ()) -> Words:
        """Values with the components of names, and dates (YYYYMMDD) as they are written elsewhere."""
        texts = {form for value in values for form in _forms(value)}
        return cls(tuple(sorted(texts)), tuple(re.compile(pattern.encode()) for pattern in patterns))

    def inside(self, content: bytes, *, binary: bool = False) -> set[str]:
        """The words that bytes hold, as UTF-8, Latin-1, UTF-16, escaped, or without regard to case.

        In binary content, where short words stand by chance, long ones alone are looked for.
        """
        lower, least = content.lower(), _SHORTEST_IN_BINARY if binary else _SHORTEST
        texts = {
            text
            for text in self.texts
            if any(len(form) >= least and form in lower for form in _encodings(text))
        }
        wide = content.replace(b"\0", b"")
        parts = () if binary else (content, wide)
        matches = {hit.decode() for p in self.patterns for part in parts for hit in p.findall(part)}
        return texts | matches


def _forms(value: str) -> set[str]:
    """A value, its parts, and where it is a date its other spellings."""
    value = unicodedata.normalize("NFC", value.strip())
    if re.fullmatch(r"(19|20)\d{6}", value):
        year, month, day = value[:4], value[4:6], value[6:]
        return {value, f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}"}
    parts = {part for part in re.split(r"[\^=\\]", value) if len(part) >= _SHORTEST}
    return {value, value.replace("^", " "), *parts} if len(value) >= _SHORTEST else set()


@cache
def _encodings(text: str) -> frozenset[bytes]:
    forms = {text, text.lower(), text.upper()}
    forms |= {unicodedata.normalize("NFD", form) for form in forms}
    forms |= {escaped for form in forms for escaped in (ascii(form)[1:-1], json.dumps(form)[1:-1])}
    codecs = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
    return frozenset(form.encode(codec).lower() for form in forms for codec in codecs if _fits(form, codec))


def _fits(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def leaks(out: Path, words: Words, screen: str = "") -> dict[str, set[str]]:
    """Place → words: names and contents of all files below ``out``, and what stood on the screen.

    `private/`, SEG and SR are left out, but not their names.
    """
    places: dict[str, set[str]] = {"screen": words.inside(screen.encode(errors="surrogateescape"))}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if name.startswith("private/"):
            continue
        places[f"the name of {name}"] = words.inside(name.encode(errors="surrogateescape"))
        if path.is_file() and not name.endswith(MAY_NAME_PATIENTS):
            for inside, content, binary in _layers(name, path.read_bytes()):
                places[inside] = places.get(inside, set()) | words.inside(content, binary=binary)
    return {place: hits for place, hits in places.items() if hits}


def _layers(name: str, content: bytes) -> Iterator[tuple[str, bytes, bool]]:
    """A file's bytes, and those of whatever is packed in it; True for voxels and for what is compressed."""
    if content.startswith(b"\x1f\x8b"):
        yield name, content[:_GZIP_HEADER], True
        yield from _layers(f"{name} unpacked", gzip.decompress(content))
    elif content.startswith(b"PK\x03\x04"):
        yield name, content, True
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                yield f"{name}!", entry.filename.encode() + entry.comment + entry.extra, False
                yield from _layers(f"{name}!{entry.filename}", archive.read(entry))
    elif content.startswith(_PNG):
        yield name, content, True
        yield from ((place, text, False) for place, text in _png_texts(name, content))
    elif content[344:347] in (b"n+1", b"ni1"):
        start = int(nib.Nifti1Header.from_fileobj(io.BytesIO(content)).get_data_offset())
        yield f"{name} header", content[:start], False
        yield f"{name} voxels", content[start:], True
    else:
        yield name, content, False
        for packed in re.findall(rb";base64,([A-Za-z0-9+/=\s]+)", content):
            yield from _layers(f"{name} inside", base64.b64decode(packed))
        if content.startswith(b"SQLite format 3\0"):
            yield f"{name} rows", _rows(content), False


def _png_texts(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Text chunks of a PNG file, compressed ones unpacked."""
    at = len(_PNG)
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        data = content[at + 8 : at + 8 + length]
        if kind in (b"tEXt", b"iTXt", b"eXIf"):
            yield f"{name} {kind.decode()}", data
        if kind in (b"zTXt", b"iTXt"):
            for start in (hit.end() for hit in re.finditer(rb"\0+", data)):
                try:
                    yield f"{name} {kind.decode()}", zlib.decompress(data[start:])
                except zlib.error:
                    continue
        at += length + 12


def _rows(content: bytes) -> bytes:
    """Every cell of every table of a database."""
    with sqlite3.connect(":memory:") as connection:
        connection.deserialize(content)
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    connection.close()
    return "\n".join(str(cell) for row in rows for cell in row).encode(errors="surrogateescape")


def main() -> int:
    """Print the leaks of a folder; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--pattern", action="append", default=[], help="a regular expression")
    asked = parser.parse_args()
    places = leaks(asked.out, Words.of(asked.words, asked.pattern))
    for place, hits in places.items():
        sys.stdout.write(f"{place}: {', '.join(sorted(hits))}\n")
    return int(bool(places))


if __name__ == "__main__":
    sys.exit(main())
