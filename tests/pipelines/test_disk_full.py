"""A full disk ends a run with one coded line and nothing half-written, whoever meets it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from medseg import files, resources
from medseg.errors import Code, MedsegError
from medseg.infer import plane_fusion
from medseg.preprocess import store
from medseg.train import state
from tests.helpers.box_runs import recipe_tree
from tests.helpers.box_subjects import LARGE, SMALL, make_subjects


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2.5 MB; skipped where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    call = ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(disk)]
    mounted = subprocess.run(call, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def medseg(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "medseg", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment)


WIDE = {"name": "unet", "keywords": {"padding": "same", "width": 24, "depth": 2}}


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
@pytest.mark.parametrize(
    ("free_kb", "network"),
    [(60, None), (400, WIDE)],
    ids=["while preparing cases", "at a checkpoint"],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_space(
    small_disk: Path, tmp_path: Path, free_kb: int, network: Any
) -> None:
    make_subjects(tmp_path / "data", labelled=5, form=SMALL if network else LARGE)
    (tmp_path / "boxes.yaml").write_text(
        yaml.safe_dump(recipe_tree(**({"network": network} if network else {})))
    )
    call = (
        "run",
        str(tmp_path / "boxes.yaml"),
        "--data",
        str(tmp_path / "data"),
        "--work",
        str(small_disk / "w"),
    )
    if network:
        assert medseg("ingest", *call[1:]).returncode == 0
        assert medseg("preprocess", *call[1:]).returncode == 0
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free - free_kb * 1024
    filler.write_bytes(bytes(free))

    ended = medseg(*call)
    assert ended.returncode == 1, ended.stderr
    assert "DISK_FULL" in ended.stderr.splitlines()[-1], ended.stderr
    assert "Traceback" not in ended.stderr and "FAULT" not in ended.stderr
    assert not list(small_disk.rglob(".part-*"))

    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    ended = medseg("train" if network else "preprocess", *call[1:])
    assert ended.returncode == 0, ended.stderr


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_torchs_writer_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0")

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(MedsegError) as caught:
        state.write_network(tmp_path / "best.ckpt", {"a": torch.zeros(2)}, {})
    assert caught.value.code is Code.DISK_FULL
    assert list(tmp_path.iterdir()) == []


def test_torchs_writer_is_no_full_memory() -> None:
    assert not resources.is_out_of_memory(RuntimeError("[enforce fail at inline_container.cc:668] . pos"))


@pytest.mark.parametrize(
    "error",
    [
        safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_other_writers_words(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(MedsegError) as caught, files.written_aside(tmp_path / "a"):
        raise error
    assert caught.value.code is Code.DISK_FULL


def test_an_error_with_a_reason_of_its_own_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert not resources.is_disk_full(FileNotFoundError(errno.ENOENT, "none", "a"), tmp_path / "a")
    assert not resources.is_disk_full(NotImplementedError("no"), tmp_path / "a")
    assert resources.is_disk_full(OSError("1048576 requested and 4096 written"), tmp_path / "a")


def test_no_half_case_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.preprocess.test_store import prepared

    volume, label, record = prepared()
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(MedsegError) as caught:
        store.write(tmp_path, "a", "a", volume, label, record, 5)
    assert caught.value.code is Code.DISK_FULL
    assert list(tmp_path.iterdir()) == []


def test_planes_reserve_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(MedsegError) as caught:
        plane_fusion.MeanOverPlanes((4, 4, 4), ("axial", "coronal"), 2)
    assert caught.value.code is Code.DISK_FULL


def test_a_model_folder_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_file(*_: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    with pytest.raises(MedsegError) as caught, files.written_aside(tmp_path / "fold0.safetensors") as part:
        safetensors.torch.save_file({}, part)
    assert caught.value.code is Code.DISK_FULL
