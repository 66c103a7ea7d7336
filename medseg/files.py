"""Files that are either whole or absent: written aside, then renamed; locks; hashes of what was used."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import filelock

from medseg.errors import Code, MedsegError
from medseg.limits import MAX_JSON_BYTES, MAX_NESTING
from medseg.resources import coded_disk_full

_PART = ".part-"
_PART_NAME = re.compile(r"\.part-([0-9a-f]{6})-(\d+)-\d+-(.+)", re.DOTALL)
_ABANDONED_S = 24 * 3600.0
_numbers = count()
_cleaned: set[Path] = set()

_ODD_NAMES = "backslashreplace"
"""File names that are no UTF-8 are written with escapes for the bytes that are not."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


@contextmanager
def written_aside(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same suffix); rename it to ``path`` when the block ends well.

    A kill at any moment leaves ``path`` as it was. The temporary name belongs to this process alone, so two
    of them may write the same ``path``; what killed ones left in the folder is removed. The file
    gets the permissions that the umask leaves of ``mode``, whatever the library in the block set. Raises
    DISK_FULL.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_once(path.parent)
    part = path.with_name(f"{_PART}{_host()}-{os.getpid()}-{next(_numbers)}-{path.name}")
    try:
        with coded_disk_full(final(path)):
            part.touch(mode)
            given = part.stat().st_mode & 0o777
            yield part
            part.chmod(given)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def written_together(folder: Path, last: str, without: Iterable[Path] = ()) -> Iterator[Path]:
    """Give a temporary folder inside ``folder``; move its files into ``folder`` when the block ends well.

    ``last`` is the file that vouches for the others: an older one goes before they move, and the new one
    moves after them, so that a kill in between never leaves it beside files that it does not belong to. Files
    of ``without`` go with the older one, unless new ones took their places. Where the block fails, ``folder``
    stays as it was. Raises DISK_FULL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_once(folder)
    part = folder / f"{_PART}{_host()}-{os.getpid()}-{next(_numbers)}-{last}"
    part.mkdir()
    try:
        with coded_disk_full(folder / last):
            yield part
            new = [folder / path.name for path in part.iterdir() if path.name != last]
            (folder / last).unlink(missing_ok=True)
            for path in new:
                (part / path.name).replace(path)
            for path in set(without) - {*new, folder / last}:
                path.unlink(missing_ok=True)
            (part / last).replace(folder / last)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_part(path: Path) -> bool:
    """True for the temporary name of a file or folder that is being written, or of one that a kill left."""
    return path.name.startswith(_PART)


def final(path: Path) -> Path:
    """The path where a file that is being written will have its place; any other path as it is."""
    parts = [_PART_NAME.sub(r"\3", part) if part == path.name else part for part in path.parts]
    return Path(*(part for part in parts if not part.startswith(_PART)))


def _remove_abandoned_once(folder: Path) -> None:
    """Remove what earlier commands left in a folder, when this process first writes there."""
    if folder not in _cleaned:
        _cleaned.add(folder)
        remove_abandoned(folder)


def why_no_folder(path: Path) -> str:
    """Say what stands where a folder is wanted, for the details of a refusal."""
    return "a file, where a folder is wanted" if path.is_file() else "no such folder"


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of processes that are gone, or a day old; there may be no such folder."""
    for part in folder.iterdir() if folder.is_dir() else ():
        match = _PART_NAME.fullmatch(part.name)
        if match is not None and (_is_gone(match[1], int(match[2])) or _age_s(part) > _ABANDONED_S):
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _is_gone(host: str, process: int) -> bool:
    if host != _host():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


@contextmanager
def hold_lock(
    path: Path, where: object, details: str, how_to_fix: str, wait_s: float = 0.0
) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; after ``wait_s`` seconds in vain raise WORK_IN_USE.

    The lock goes with the process, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=wait_s)
    except filelock.Timeout:
        raise MedsegError(Code.WORK_IN_USE, where, details, how_to_fix) from None
    try:
        yield
    finally:
        lock.release()


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file of an input for reading its bytes; raise OSError also for a pipe, a socket or a device.

    A pipe waits for a writer that may never come, and a device may have no end.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - Path.open takes no opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "a pipe, socket or device, not a file", str(path))
    return file


def read_text(path: Path, most: int, encoding: str = "utf-8") -> str:
    """Read a text file of an input. Raises OSError for more than `most` bytes, UnicodeDecodeError."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return content.decode(encoding)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def exists(path: Path) -> bool:
    """True if there is a file or folder; False also for a path that no file can have: too long, a NUL."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with written_aside(path) as part:
        part.write_text(text, encoding="utf-8", errors=_ODD_NAMES)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data``, whole or not at all."""
    with written_aside(path) as part:
        part.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON; NaN and infinity are refused by json itself."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError for one that is damaged, too large, or too deeply nested."""
    with open_regular(path) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"more than {MAX_JSON_BYTES // 2**20} MiB of JSON")
    try:
        tree = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:  # its own text quotes the whole file
        raise ValueError(f"byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise ValueError("lists or objects too deeply inside one another") from None
    if is_too_deep(tree):
        raise ValueError(f"more than {MAX_NESTING} lists or objects inside one another")
    return tree


def is_too_deep(tree: Any, most: int = MAX_NESTING) -> bool:
    """True if lists and mappings lie inside one another more than ``most`` times."""
    layer = [tree]
    for _ in range(most + 1):
        layer = [
            child
            for node in layer
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not layer:
            return False
    return any(isinstance(node, dict | list) for node in layer)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` under ``columns`` as :func:`csv_text` gives them."""
    with written_aside(path) as part:
        part.write_text(csv_text(columns, rows), encoding="utf-8", errors=_ODD_NAMES, newline="")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """``rows`` under ``columns``; ``None`` becomes an empty cell, an unknown key is an error.

    Text that a spreadsheet would take for a formula gets an apostrophe in front; :func:`read_csv` removes it.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writerow({column: _escaped(column) for column in columns})
    writer.writerows({key: _escaped(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file that :func:`write_csv` wrote; every cell is a string, empty where nothing stands."""
    with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [{_unescaped(key): _unescaped(cell) for key, cell in row.items()} for row in rows]


def _escaped(value: Any) -> Any:
    return (
        f"'{value}" if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value
    )


def _unescaped(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def sha256(path: Path, most: int | None = None) -> str:
    """The sha256 of a file's bytes, in hexadecimal; raises OSError for a file of more than `most` bytes."""
    with open_regular(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """The sha256 of a JSON-like value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(path: Path, sha256_known: str | None = None) -> dict[str, Any]:
    """Size in bytes, modification time in ns and sha256 of a file, for :func:`is_unchanged`.

    ``sha256_known`` saves reading a file whose hash was computed when it was written.
    """
    status = path.stat()
    return {
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256_known or sha256(path),
    }


def is_unchanged(path: Path, known: Mapping[str, Any]) -> bool:
    """True if ``path`` is the file of the fingerprint ``known``.

    The size is always compared. The content is read only where the file was written or copied since.
    """
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != known["bytes"]:
        return False
    return bool(status.st_mtime_ns == known["mtime_ns"] or sha256(path) == known["sha256"])


def stamp(path: Path) -> tuple[str, int, int]:
    """Name, size and modification time in ns: a cheap sign that a large input file is unchanged."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
