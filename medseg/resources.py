"""Full disks and full memory: one rule for each, whichever library reports it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import Code, MedsegError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_SPACE_WORDS = ("no space left on device", "disk quota exceeded", "database or disk is full")
_ALMOST_NOTHING = 2**20
"""Bytes free below which a failed write is taken for a full disk, whatever the library said."""


# How torch's allocator on the CPU says it, as a plain RuntimeError; its writer of files begins alike.
_NO_MEMORY_BEGINNING = "[enforce fail at alloc_cpu"
_NO_MEMORY_WORDS = "can't allocate memory"


@contextmanager
def coded_out_of_memory(where: object, how_to_fix: str) -> Iterator[None]:
    """Turn what Python, NumPy and torch raise for want of memory into OUT_OF_MEMORY; pass every other error.

    ``where`` is what was being worked on, ``how_to_fix`` what to lower.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        details = str(error).strip().splitlines() or [type(error).__name__]
        raise MedsegError(Code.OUT_OF_MEMORY, where, details[0], how_to_fix) from error


def is_out_of_memory(error: BaseException) -> bool:
    """True if Python, NumPy or torch could not allocate; torch is not imported for it."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return str(error).startswith(_NO_MEMORY_BEGINNING) or _NO_MEMORY_WORDS in str(error)


@contextmanager
def coded_disk_full(path: Path) -> Iterator[None]:
    """Turn a failure for want of disk space, also one that a library wrapped, into DISK_FULL."""
    try:
        yield
    except MedsegError:
        raise
    except Exception as error:
        if is_disk_full(error, path):
            free = shutil.disk_usage(path.parent).free / 1e6 if path.parent.exists() else 0.0
            how_to_fix = (
                "free some space, or work in a folder on another disk; then run the same command again"
            )
            raise MedsegError(Code.DISK_FULL, path, f"{free:.1f} MB are left", how_to_fix) from error
        raise


def is_disk_full(error: BaseException, path: Path) -> bool:
    """True if ``error``, or what caused it, says that the disk is full, or if the disk of ``path`` is.

    The free space decides only for errors that say nothing of their reason: NumPy's of a short write, torch's
    and safetensors' of a failed one.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NO_SPACE:
            return True
        if any(words in str(cause).lower() for words in _NO_SPACE_WORDS):
            return True
        cause = cause.__cause__ or cause.__context__
    says_nothing = (
        (isinstance(error, OSError) and error.errno in (None, errno.EIO))
        or type(error) is RuntimeError
        or type(error).__module__.startswith("safetensors")
    )
    try:
        return says_nothing and shutil.disk_usage(path.parent).free < _ALMOST_NOTHING
    except OSError:
        return False


def reserve(path: Path, size: int) -> None:
    """Make ``path`` a file of ``size`` bytes whose blocks are there, so that mapped writes cannot fail.

    Without this a full disk kills the process with a bus error. Raises DISK_FULL.
    """
    with coded_disk_full(path), path.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def allow_open_files(number: int) -> None:
    """Let this process keep so many more files open, as far as the system's own limit allows.

    Every memory map keeps its file open, and many systems allow 1024 at first.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    limit = soft + number if hard == resource.RLIM_INFINITY else min(soft + number, hard)
    with suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
