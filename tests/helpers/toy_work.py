"""A small unit of work for tests of engines: squares numbers, and misbehaves as its task says."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medseg import files
from medseg.errors import Code, Finding, MedsegError
from pipelines.execution.steps import Ended, Steps, Work


@dataclass(frozen=True)
class Toy:
    """A number; `misbehaviour` says at which step what happens; `mark` is made when it first happens.

    "writes" is what happens while a file beside `mark` is being written.
    """

    number: int
    misbehaviour: str = ""
    mark: Path | None = None


def work(folder: Path | None = None) -> Work[Toy, str]:
    """Work whose outcomes are words; with a folder, each process that makes the steps leaves a file there."""
    return Work(partial(_make, folder), _lost, None if folder is None else lambda _: folder)


def _make(folder: Path | None) -> Steps[Toy, str]:
    if folder is not None:
        (folder / f"made-{os.getpid()}").touch()
    return Steps(_read, _compute, _write)


def _lost(toy: Toy, finding: Finding) -> str:
    return f"{toy.number}: {finding.code} {finding.details}"


def _misbehave(toy: Toy, step: str) -> None:
    if not toy.misbehaviour.startswith(step) or (toy.mark is not None and toy.mark.exists()):
        return
    if toy.mark is not None:
        toy.mark.touch()
    match toy.misbehaviour.removeprefix(step).strip():
        case "dies":
            time.sleep(0.3)  # so that others are in hand, too
            os.kill(os.getpid(), signal.SIGKILL)
        case "writes":
            assert toy.mark is not None
            with files.written_aside(toy.mark.with_name("result")):
                time.sleep(60)
        case "hangs":
            time.sleep(60)
        case "fills memory":
            bytearray(2**32)
        case "refuses all":
            raise MedsegError(Code.DISK_FULL, "disk", "0 MB are left", "free some")
        case "breaks":
            raise ZeroDivisionError("by zero")


def _read(toy: Toy) -> Toy | Ended[str]:
    _misbehave(toy, "read")
    return Ended(f"{toy.number}: skipped") if toy.misbehaviour == "skip" else toy


def _compute(toy: Toy) -> Toy:
    _misbehave(toy, "compute")
    return Toy(toy.number**2, toy.misbehaviour, toy.mark)


def _write(toy: Toy) -> str:
    _misbehave(toy, "write")
    return str(toy.number)
