"""Units of work in local worker processes: each with limits, none able to take another one along.

A worker that runs over its time or dies is replaced. Each task that a dead one had in hand is tried again
alone: the one at fault is named, and a worker that was killed from outside costs nothing.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, Generic

from medseg import files
from medseg.errors import Code, Finding, MedsegError, WorkerFaultError
from pipelines.execution.limits import Limits, peak_memory
from pipelines.execution.steps import Outcome, Step, Task, Work
from pipelines.execution.worker import Done, Faulty, More, Notice, Refused
from pipelines.execution.worker_process import WorkerProcess, end_unused, started

_LOOK_EVERY_S = 0.2
_STARTS_IN_VAIN = 3
"""Times that a worker may die before its first task."""

_STEPS: dict[Step, str] = {"read": "reading", "compute": "computing", "write": "writing"}


def run(
    tasks: Sequence[Task], work: Work[Task, Outcome], *, workers: int, limits: Limits
) -> Iterator[tuple[int, Outcome]]:
    """Yield (number, outcome) of every task as it ends, carried out by so many processes.

    Nothing is yielded of tasks that have not ended when the limits say that the time is over. Raises what
    `work.make` refuses, MedsegErrors that end a run, and WorkerFaultError for other exceptions. When the
    iterator is closed or raises, all workers are killed; nothing that they had not finished is kept.
    """
    yield from _Engine(tasks, work, workers, limits).results()


class _Engine(Generic[Task, Outcome]):
    def __init__(
        self, tasks: Sequence[Task], work: Work[Task, Outcome], workers: int, limits: Limits
    ) -> None:
        self._tasks, self._work, self._limits = tasks, work, limits
        self._count = min(workers, max(1, len(tasks)))
        self._todo = deque(range(len(tasks)))
        self._suspects: deque[int] = deque()
        self._workers: list[WorkerProcess] = []
        self._in_vain = 0
        self._ended: list[tuple[int, Outcome]] = []

    def results(self) -> Iterator[tuple[int, Outcome]]:
        left = len(self._tasks)
        try:
            while left and not self._limits.are_over():
                self._start_missing()
                end_unused()
                self._look()
                while self._ended:
                    left -= 1
                    yield self._ended.pop(0)
        finally:
            self._end(self._workers)

    def _start_missing(self) -> None:
        """Start workers for what is left: suspects go to workers that are given one task at a time."""
        while len(self._workers) < self._count and (self._todo or self._suspects):
            alone = bool(self._suspects) and not self._todo
            self._workers.append(started(self._work, self._limits, alone=alone))

    def _look(self) -> None:
        """Wait for messages and ends of workers, and give them work."""
        sources: list[Any] = [worker.connection for worker in self._workers]
        sources += [worker.process.sentinel for worker in self._workers]
        wait(sources, timeout=_LOOK_EVERY_S)
        for worker in list(self._workers):
            gone = self._read_messages(worker)
            worker.peak = max(worker.peak, peak_memory(worker.process.pid) or 0)
            if gone or not worker.process.is_alive():
                self._replace_dead(worker)
            elif late := worker.over_time(self._limits.seconds):
                self._replace_late(worker, *late)
            elif worker.wants:
                self._give(worker)

    def _read_messages(self, worker: WorkerProcess) -> bool:
        """Take all messages that have arrived; True if the worker has closed its end."""
        try:
            while worker.connection.poll():
                self._take(worker, worker.connection.recv())
        except (EOFError, OSError):
            return True
        return False

    def _take(self, worker: WorkerProcess, message: Any) -> None:
        match message:
            case More():
                worker.wants = worker.has_worked = True
            case Notice(number, step):
                worker.in_hand[number] = (step, time.monotonic()) if step else None
            case Done(number, outcome):
                del worker.in_hand[number]
                self._ended.append((number, outcome))
            case Faulty(kind, text, frames):
                raise WorkerFaultError(kind, text, frames)
            case Refused(finding):
                raise MedsegError(finding.code, finding.where, finding.details, finding.how_to_fix)

    def _give(self, worker: WorkerProcess) -> None:
        """Send the next task to a worker that wants one, or have it end."""
        if worker.alone and worker.in_hand:
            return
        queue = self._suspects if worker.alone else self._todo
        worker.wants = False
        number = queue.popleft() if queue else None
        if number is not None:
            worker.in_hand[number] = None
        with suppress(OSError):  # it has just died; the next look sees to it
            worker.connection.send(None if number is None else (number, self._tasks[number]))

    def _replace_late(self, worker: WorkerProcess, number: int, step: Step) -> None:
        self._end([worker])
        details = f"{_STEPS[step]} took more than {self._limits.seconds:g} s{_memory(worker)}"
        self._lose(number, Code.TIME_LIMIT, details, "give it more time, or look at the scan")
        self._todo.extendleft(other for other in worker.in_hand if other != number)

    def _replace_dead(self, worker: WorkerProcess) -> None:
        """Have the tasks of a dead worker tried again one by one, or name the one that it had alone."""
        self._read_messages(worker)
        self._end([worker])
        if not worker.in_hand:
            self._count_vain_start(worker)
            return
        if not worker.alone:
            self._suspects.extend(worker.in_hand)
            return
        ((number, since),) = worker.in_hand.items()
        doing = f" while {_STEPS[since[0]]}" if since else ""
        details = f"its process ended by {_end_of(worker.process.exitcode)}{doing}{_memory(worker)}"
        how_to_fix = "free some memory or lower --workers, then run again with --retry"
        self._lose(number, Code.WORKER_KILLED, details, how_to_fix)

    def _count_vain_start(self, worker: WorkerProcess) -> None:
        """Give up after several workers that died before they asked for a task."""
        self._in_vain += not worker.has_worked
        if self._in_vain >= _STARTS_IN_VAIN:
            details = f"worker processes end at once, the last by {_end_of(worker.process.exitcode)}"
            raise MedsegError(Code.WORKER_KILLED, "medseg", details, "free some memory, or try --workers 0")

    def _lose(self, number: int, code: Code, details: str, how_to_fix: str) -> None:
        finding = Finding(code, "", details, how_to_fix)
        self._ended.append((number, self._work.lost(self._tasks[number], finding)))

    def _end(self, workers: Iterable[WorkerProcess]) -> None:
        """End workers, and remove what they had not finished writing."""
        for worker in list(workers):
            worker.end()
            self._workers.remove(worker)
            folder_of = self._work.folder_of
            if folder_of is not None:
                for folder in {folder_of(self._tasks[number]) for number in worker.in_hand}:
                    files.remove_abandoned(folder)


def _end_of(exitcode: int | None) -> str:
    """Words for the way in which a process ended."""
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    with suppress(ValueError):
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"signal {-exitcode}"


def _memory(worker: WorkerProcess) -> str:
    return f"; its memory reached {worker.peak / 2**20:,.0f} MiB" if worker.peak else ""
