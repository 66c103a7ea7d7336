"""DICOM files of an export: plain, gzip-compressed or inside zip archives; found by content, not by name."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO

from medseg.errors import Code, MedsegError

MAX_BYTES = 4 * 2**30
"""Decompressed size above which a file of an export is refused."""

MAX_ENTRIES = 200_000
"""Entries above which a zip archive is refused."""

_SNIFFED = 4096
"""Compressed bytes that hold the first of a data set."""

_MAGIC_AT = 128
_HEAD = _MAGIC_AT + 4
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_FIRST_GROUPS = (b"\x08\x00", b"\x00\x08", b"\x02\x00")
"""Groups 0008 (little or big endian) and 0002: data sets without a preamble begin with one of them."""


@dataclass(frozen=True, order=True)
class DicomFile:
    """A file on the disk, or an entry of a zip archive on the disk; perhaps gzip-compressed."""

    path: Path
    entry: str = ""

    def __str__(self) -> str:
        return f"{self.path}!{self.entry}" if self.entry else str(self.path)

    def open(self) -> BinaryIO:
        """Open the data set's bytes for reading.

        Raises TOO_LARGE for decompressed sizes above :data:`MAX_BYTES`, TRUNCATED for damaged compression,
        OSError for files that cannot be read.
        """
        if not self.entry:
            file = self.path.open("rb")
            if file.read(2) != _GZIP:
                file.seek(0)
                return file
            file.close()
        return io.BytesIO(_decompressed(self))


@lru_cache(maxsize=2)
def _decompressed(file: DicomFile) -> bytes:
    try:
        if not file.entry:
            with gzip.open(file.path) as stream:
                return _limited(stream, file)
        status = file.path.stat()
        with _archive(file.path, status.st_mtime_ns, status.st_size).open(file.entry) as stream:
            content = _limited(stream, file)
        if content[:2] == _GZIP:
            with gzip.open(io.BytesIO(content)) as stream:
                return _limited(stream, file)
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise MedsegError(
            Code.TRUNCATED, file, f"damaged compression ({type(error).__name__})", "copy it again"
        ) from None
    return content


@lru_cache(maxsize=1)
def _archive(path: Path, _changed_ns: int, _size: int) -> zipfile.ZipFile:
    """A zip archive, kept open: its table of contents is read once, not for every entry."""
    return zipfile.ZipFile(path)


def _limited(stream: IO[bytes] | gzip.GzipFile, file: DicomFile) -> bytes:
    content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        details = f"more than {MAX_BYTES / 2**30:.0f} GiB once decompressed"
        raise MedsegError(Code.TOO_LARGE, file, details, "unpack it and check what it holds")
    return content


def files_below(root: Path) -> Iterator[DicomFile]:
    """Yield every regular file below a folder, and every entry of the zip archives there, in sorted order.

    Hidden files and symbolic links that lead out of the folder are left out. A file given itself is yielded.
    """
    if root.is_file():
        yield from _entries(root)
        return
    real = root.resolve()
    for path in sorted(root.rglob("*")):
        inside = not path.is_symlink() or path.resolve().is_relative_to(real)
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if inside and not hidden and path.is_file():
            yield from _entries(path)


def _entries(path: Path) -> Iterator[DicomFile]:
    if not _begins_with(path, _ZIP):
        yield DicomFile(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(entry.filename for entry in archive.infolist() if not entry.is_dir())
    except (zipfile.BadZipFile, OSError):
        yield DicomFile(path)
        return
    if len(names) > MAX_ENTRIES:
        details = f"{len(names)} entries, more than {MAX_ENTRIES}"
        raise MedsegError(Code.TOO_LARGE, path, details, "unpack it and name its folders")
    yield from (DicomFile(path, name) for name in names)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def begins_like_export(path: Path) -> bool:
    """True if a file may be a DICOM data set, as it is or gzip-compressed, or a zip archive with one."""
    try:
        return any(looks_like_dicom(_head(file)) for file in _entries(path))
    except OSError:
        return False
    except (MedsegError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return True


def _head(file: DicomFile) -> bytes:
    """The first bytes of a file or entry, decompressed."""
    if file.entry:
        with zipfile.ZipFile(file.path) as archive, archive.open(file.entry) as entry:
            head = entry.read(_SNIFFED)
    else:
        with file.path.open("rb") as stream:
            head = stream.read(_SNIFFED)
        if head.startswith(_ZIP):
            raise zipfile.BadZipFile
    return zlib.decompressobj(wbits=31).decompress(head, _HEAD) if head.startswith(_GZIP) else head[:_HEAD]


def looks_like_dicom(head: bytes) -> bool:
    """True if a file that begins with ``head`` (132 bytes or more) may be a DICOM data set."""
    if head[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM":
        return True
    return head[:2] in _FIRST_GROUPS and _plausible_element(head)


def _plausible_element(head: bytes) -> bool:
    """True if the first bytes are an element with an explicit type, or a short one with an implicit type."""
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    little = int.from_bytes(head[4:8], "little")
    return len(head) >= 8 and (explicit or little < 1024)
