"""A full disk and a full memory are known whoever says it, and nothing else is taken for them."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from medseg import resources
from medseg.errors import Code, MedsegError

Usage = namedtuple("Usage", "total used free")


def _wrapped() -> RuntimeError:
    try:
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError as cause:
            raise RuntimeError("writer failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        _wrapped(),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known_by_any_words(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(MedsegError) as refused, resources.coded_disk_full(tmp_path / "a"):
        raise error
    assert refused.value.code == Code.DISK_FULL


def test_a_failed_write_on_a_full_disk_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("[enforce fail at inline_container.cc:603] . writer failed writing file")
    assert not resources.is_disk_full(error, tmp_path / "a")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30, 0))
    assert resources.is_disk_full(error, tmp_path / "a")


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EACCES, "denied"), KeyError("disk")])
def test_other_errors_pass(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), resources.coded_disk_full(tmp_path / "a"):
        raise error


def test_reserved_bytes_are_there_or_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources.reserve(tmp_path / "a", 10_000)
    assert (tmp_path / "a").stat().st_size == 10_000
    assert (tmp_path / "a").stat().st_blocks * 512 >= 10_000

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(MedsegError) as refused:
        resources.reserve(tmp_path / "b", 10_000)
    assert refused.value.code == Code.DISK_FULL


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: no memory"),
            True,
        ),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_a_full_memory_is_told_from_other_errors(error: Exception, known: bool) -> None:
    assert resources.is_out_of_memory(error) == known
    expected = MedsegError if known else type(error)
    with pytest.raises(expected), resources.coded_out_of_memory("step 3", "lower train.batch"):
        raise error
