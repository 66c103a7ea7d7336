"""DICOM files of an export: plain, gzip-compressed or inside zip archives; found by content, not by name."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import IO, BinaryIO

from medseg.errors import Code, Finding, MedsegError
from medseg.files import open_regular
from medseg.io.dicom import claims
from medseg.limits import (
    FREE_BYTES,
    MAX_ARCHIVE_BYTES,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_EXPANSION,
    MAX_PLAIN_BYTES,
)

_SNIFFED = 4096
"""Compressed bytes that hold the first of a data set."""

_MAGIC_AT = 128
_HEAD = _MAGIC_AT + 4
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_DAMAGE = (
    EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError, KeyError,
    ValueError, IndexError, struct.error, MemoryError,
)  # fmt: skip
"""Errors that zipfile and its decompressors raise for damaged archives."""

_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")

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

        Raises TOO_LARGE for files that expand beyond the limits, TRUNCATED for damaged compression, OSError
        for files that cannot be read.
        """
        if not self.entry:
            file = open_regular(self.path)
            try:
                if file.read(2) != _GZIP:
                    if file.seek(0, os.SEEK_END) > MAX_PLAIN_BYTES:
                        details = f"more than {MAX_PLAIN_BYTES // 2**30} GiB in one file"
                        raise MedsegError(Code.TOO_LARGE, self, details, "export it in several files")
                    file.seek(0)
                    claims.check_deflated(file, self)
                    return file
            except BaseException:
                file.close()
                raise
            file.close()
        stream = io.BytesIO(_decompressed(self))
        claims.check_deflated(stream, self)
        return stream


@lru_cache(maxsize=2)
def _decompressed(file: DicomFile) -> bytes:
    try:
        if not file.entry:
            with gzip.open(file.path) as stream:
                return _limited(stream, file.path.stat().st_size, file)
        status = file.path.stat()
        archive = _archive(file.path, status.st_mtime_ns, status.st_size)
        with archive.open(file.entry) as stream:
            content = _limited(stream, archive.getinfo(file.entry).compress_size, file)
        if content[:2] == _GZIP:
            with gzip.open(io.BytesIO(content)) as stream:
                return _limited(stream, len(content), file)
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the disk's; a damaged archive points nowhere
            raise
        raise _damaged(file, error) from None
    except _DAMAGE as error:
        raise _damaged(file, error) from None
    return content


@lru_cache(maxsize=1)
def _archive(path: Path, _changed_ns: int, _size: int) -> zipfile.ZipFile:
    """A zip archive, kept open: its table of contents is read once, not for every entry."""
    return zipfile.ZipFile(path)


def _damaged(file: DicomFile, error: Exception) -> MedsegError:
    details = f"damaged compression ({type(error).__name__})"
    return MedsegError(Code.TRUNCATED, file, details, "copy it again")


def _limited(stream: IO[bytes] | gzip.GzipFile, compressed: int, file: DicomFile) -> bytes:
    limit = claims.limit_of(compressed)
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise claims.too_large(file, limit)
    return content


def files_below(root: Path) -> Iterator[DicomFile]:
    """Yield every regular file below a folder, and every entry of the zip archives there, in sorted order.

    Hidden files, symbolic links that lead out of the folder and links to folders are left out. A file given
    itself is yielded. An archive that is refused, and a folder that lies too deep or cannot be listed, are
    yielded themselves.
    """
    if root.is_file():
        yield from _entries(root)
        return
    real = Path(os.path.realpath(root))  # a link to itself is no error here
    for path in sorted(_tree(root)):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(real):
            continue
        if path.is_file():
            yield from _entries(path)
        elif path.is_dir() or path.is_symlink():  # not entered, or broken
            yield DicomFile(path)


def _tree(root: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden, and folders that lie too deep or cannot be listed.

    Links are not followed.
    """
    unlisted: list[OSError] = []
    for folder, inner, names in os.walk(root, onerror=unlisted.append):
        inner[:] = [name for name in inner if not name.startswith(".")]
        if len(Path(folder).relative_to(root).parts) >= MAX_DEPTH:
            yield from (Path(folder, name) for name in inner)
            inner.clear()
        yield from (Path(folder, name) for name in names if not name.startswith("."))
    yield from (Path(error.filename) for error in unlisted)


def _entries(path: Path) -> Iterator[DicomFile]:
    """The entries of a zip archive; any other file itself, and an archive that is refused."""
    if not _begins_with(path, _ZIP):
        yield DicomFile(path)
        return
    try:
        yield from (DicomFile(path, name) for name in _names_in(path))
    except (MedsegError, OSError):  # said where the file itself is read
        yield DicomFile(path)


def named_like_dicom(name: str, *, is_empty: bool) -> bool:
    """True if a file's name says that it is DICOM; for an empty file a name without a suffix says so, too."""
    suffix = PurePath(name.lower().removesuffix(".gz")).suffix
    return suffix in _SUFFIXES or (is_empty and not suffix)


def misnamed(file: DicomFile, head: bytes) -> Finding | None:
    """The finding about a file that is named like DICOM and is none: a slice may have been lost there."""
    if not named_like_dicom(file.entry or file.path.name, is_empty=not head):
        return None
    if not head:
        return Finding(Code.DICOM_EMPTY, str(file), "an empty file", "export it again")
    details = "named like a DICOM file, but it is none"
    return Finding(Code.DICOM_DAMAGED, str(file), details, "export it again, or remove it")


def refused_container(file: DicomFile, head: bytes) -> Finding | None:
    """The reason why an archive on the disk is not entered; None for files that are none."""
    if file.entry or not head.startswith(_ZIP):
        return None
    try:
        _names_in(file.path)
    except MedsegError as error:
        return error.finding
    return None


def _names_in(path: Path) -> list[str]:
    """The names of an archive's files, sorted; they never become paths. Raises TRUNCATED, TOO_LARGE."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename and not entry.is_dir()]
    except _DAMAGE as error:
        raise _damaged(DicomFile(path), error) from None
    total = sum(entry.file_size for entry in entries)  # zipfile gives no more of an entry than it states
    size = path.stat().st_size
    if sum(entry.compress_size for entry in entries) > size:
        details = f"its entries have more compressed bytes than the archive, {size}: some share them"
        raise MedsegError(Code.TOO_LARGE, path, details, "unpack it and name its folders")
    if total > max(FREE_BYTES, MAX_EXPANSION * size):
        raise claims.too_large(path, max(FREE_BYTES, MAX_EXPANSION * size))
    if len(entries) > MAX_ENTRIES or total > MAX_ARCHIVE_BYTES:
        details = (
            f"{len(entries)} entries of {total / 2**30:.0f} GiB in an archive, the limits are"
            f" {MAX_ENTRIES} and {MAX_ARCHIVE_BYTES / 2**30:.0f} GiB"
        )
        raise MedsegError(Code.TOO_LARGE, path, details, "unpack it and name its folders")
    return sorted(entry.filename for entry in entries)


def too_deep(folder: Path) -> Finding:
    """The reason why a folder that lies too deep is not entered."""
    details = f"more than {MAX_DEPTH} folders inside one another; what is further below was not read"
    return Finding(Code.TOO_LARGE, str(folder), details, "name a folder further below")


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with open_regular(path) as file:
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
        with open_regular(file.path) as stream:
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
