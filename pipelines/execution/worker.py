"""A worker process: carries out units of work that its parent sends, and ends with its parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from medseg.errors import Code, Finding, MedsegError, first_line
from medseg.process import keep_freed_memory
from medseg.resources import is_out_of_memory
from pipelines.execution.limits import Limits, limit_memory
from pipelines.execution.overlap import one_by_one, overlapped
from pipelines.execution.steps import Step, Steps

Make = Callable[[], Steps[Any, Any]]

ORPHANED = 70
"""Exit code of a worker whose parent is gone."""


@dataclass(frozen=True)
class More:
    """The worker can take another task."""


@dataclass(frozen=True)
class Notice:
    """A step of a task begins, or, without one, has ended."""

    number: int
    step: Step | None


@dataclass(frozen=True)
class Done:
    """The outcome of a task."""

    number: int
    outcome: Any


@dataclass(frozen=True)
class Refused:
    """The run must end, with a coded reason."""

    finding: Finding


@dataclass(frozen=True)
class Faulty:
    """The run must end: a step raised what is no refusal.

    ``frames`` is the part of the traceback that holds lines of code alone, and no words of the error.
    """

    kind: str
    traceback: str
    frames: str


def serve(connection: Connection, alive: Connection, module: str | None = None) -> None:
    """Answer the parent until it sends no more tasks. A closed ``alive`` means that the parent is gone.

    First comes, from the parent, what makes the steps, and the limits; until then ``module`` is imported.
    Ctrl-C and the end of a terminal are the parent's affair, whose end closes ``alive``. What libraries print
    is lost, as it might name an input.
    """
    _print_nothing()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    sending = threading.Lock()

    def send(message: Any) -> None:
        with sending:
            connection.send(message)

    try:
        if module is not None:
            import_module(module)
        make: Make
        limits: Limits
        make, limits = connection.recv()
        limit_memory(limits.memory)
        keep_freed_memory()
        numbered = _received(connection, send)
        engine = one_by_one if limits.one_at_a_time else overlapped
        for number, outcome in engine(numbered, make(), lambda *notice: send(Notice(*notice))):
            send(Done(number, outcome))
    except MedsegError as error:
        send(Refused(error.finding))
    except Exception as error:
        if is_out_of_memory(error):
            how_to_fix = "lower --workers, or raise --memory-limit"
            send(Refused(Finding(Code.OUT_OF_MEMORY, "a worker process", first_line(error), how_to_fix)))
            return
        frames = "".join(traceback.format_tb(error.__traceback__))
        send(Faulty(type(error).__name__, traceback.format_exc(), frames))


def _print_nothing() -> None:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - it is no path of ours
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def _received(connection: Connection, send: Any) -> Iterator[tuple[int, Any]]:
    while True:
        send(More())
        task = connection.recv()
        if task is None:
            return
        yield task


def _end_with_parent(alive: Connection) -> None:
    try:
        alive.recv()
    except (EOFError, OSError):
        os._exit(ORPHANED)
