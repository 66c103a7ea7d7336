"""The parent's view of a worker process: how it is started, what it has in hand, how it is ended.

Workers may be started early, before their work is known: they import while the command itself still does.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from medseg.process import cpus_allowed
from pipelines.execution.limits import Limits
from pipelines.execution.steps import Step, Work
from pipelines.execution.worker import serve

_EARLY: list[WorkerProcess] = []


@dataclass
class WorkerProcess:
    """A worker process and what is known of it: its tasks' steps, when they began, its memory."""

    process: Any
    connection: Connection
    alive: Connection
    alone: bool = False
    wants: bool = False
    has_worked: bool = False
    in_hand: dict[int, tuple[Step, float] | None] = field(default_factory=dict)
    peak: int = 0

    def over_time(self, seconds: float | None) -> tuple[int, Step] | None:
        """The first task that has been in one step for more than so many seconds, and the step."""
        now = time.monotonic()
        for number, since in self.in_hand.items():
            if seconds is not None and since is not None and now - since[1] > seconds:
                return number, since[0]
        return None

    def end(self) -> None:
        """Kill the process if it lives, and wait for its end."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()
        self.alive.close()


@contextmanager
def started_early(count: int, module: str) -> Iterator[None]:
    """Start so many workers, which import a module while this process goes on.

    Inside, :func:`started` gives them out. Those that nobody has taken are ended.
    """
    _EARLY.extend(_new(module) for _ in range(min(count, cpus_allowed())))
    try:
        yield
    finally:
        end_unused()


def end_unused() -> None:
    """End the workers that were started early and that nobody has taken."""
    while _EARLY:
        _EARLY.pop().end()


def started(work: Work[Any, Any], limits: Limits, *, alone: bool) -> WorkerProcess:
    """A worker that begins with this work: one that was started early and lives, or a new one."""
    while _EARLY:
        worker = _EARLY.pop()
        if worker.process.is_alive():
            break
        worker.end()
    else:
        worker = _new()
    worker.alone = alone
    with suppress(OSError):  # it has just died; its parent sees to it
        worker.connection.send((work.make, limits))
    return worker


def _new(module: str | None = None) -> WorkerProcess:
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    alive, their_alive = context.Pipe()
    process = context.Process(target=serve, args=(theirs, their_alive, module), daemon=True)
    with _interrupts_held_back():
        process.start()
    theirs.close()
    their_alive.close()
    return WorkerProcess(process, connection, alive)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started inside never hear Ctrl-C, not even while they start (not on Windows)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # where its first process begins, it would let interrupts in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
