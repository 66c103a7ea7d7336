"""Budgets of `medseg segment`: memory and time, planned before the work and said in a line each.

The memory is that of all processes together. It decides batches and tiles, and never a label. The time is
the command's: a scan that would not end in it is not begun, and one that runs longer than expected is given
up; the next run goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.console import Reporter, seconds_in_words
from medseg.errors import Code, MedsegError
from medseg.infer.case_memory import CaseMemory, is_scaled
from medseg.io import scan_size
from medseg.io.scan_size import ScanSize
from medseg.model import folder as model_folder
from pipelines.commands import segment_probe
from pipelines.commands.segment_inputs import Input
from pipelines.commands.segment_probe import Answer, Question
from pipelines.commands.segment_steps import Asked, Deadline
from pipelines.execution.engines import Execution
from pipelines.execution.limits import resident_memory

_MB = 10**6
_OWN = 64 * _MB
"""Memory (bytes) by which the process of the command grows while it goes through cases and writes tables."""
_KEPT_S = 2.0
"""Seconds of a command's time for Python to start, and for the tables at the end."""
_MEASURED_AGAIN = 1.06
"""How much more the smallest budget may be when it is measured again."""
_UNKNOWN = ScanSize((256, 256, 256), 4)
"""What a scan is taken for whose size is known only when it is read."""


@dataclass(frozen=True)
class Budget:
    """Bytes of all processes together, seconds for the command, and when they end (system's clock)."""

    memory: int | None = None
    seconds: float | None = None
    ends: float | None = None

    @classmethod
    def of(cls, memory: int | None, seconds: float | None, began: float) -> Budget:
        """The budget of a command that ``began`` then; some of its time is kept for its start and end."""
        ends = None if seconds is None else began + seconds - min(_KEPT_S, seconds / 2)
        return cls(memory, seconds, ends)

    def __bool__(self) -> bool:
        return self.memory is not None or self.seconds is not None


@dataclass(frozen=True)
class _Sizes:
    """Sizes of the cases that are known, and the largest of them."""

    known: Sequence[ScanSize]
    cases: int

    @property
    def largest(self) -> ScanSize:
        return max(self.known, key=lambda one: one.bytes, default=_UNKNOWN)

    @property
    def mean_voxels(self) -> float:
        return sum(one.voxels for one in self.known) / len(self.known) if self.known else _UNKNOWN.voxels


def require_possible(budget: Budget, execution: Execution, *, watch: bool = False) -> None:
    """Raise USAGE for budgets that cannot be kept there."""
    if budget and execution.executor == "dask":
        option = "--max-memory" if budget.memory is not None else "--time"
        details = "the workers of a Dask scheduler have memory and time of their own"
        raise MedsegError(Code.USAGE, option, details, "leave it out, and see `dask worker --memory-limit`")
    if watch and budget.seconds is not None:
        raise MedsegError(
            Code.USAGE, "--time", "--watch goes on until it is stopped", "leave one of them out"
        )


def plan(
    budget: Budget, execution: Execution, asked: Asked, cases: Sequence[Input], say: Reporter
) -> tuple[Asked, Execution]:
    """Plan the work, say it, and give what is asked of each case and the engine that keep the budget.

    Raises USAGE for a memory that is too small, with the smallest that is enough.
    """
    todo = [case for case in cases if case.reason is None]
    if not budget or not todo:
        return asked, execution
    sizes = _Sizes([size for case in todo if (size := _size(case)) is not None], len(todo))
    workers = min(execution.workers, len(todo))
    question = _question(budget, asked, sizes.largest, workers)
    began = time.monotonic()
    answer = segment_probe.ask(question)
    to_start = time.monotonic() - began if workers else 0.0  # a worker imports and loads the same
    if budget.memory is not None:
        _require_enough(budget.memory, question, answer)
        say.line(_memory_line(budget.memory, question, answer, sizes))
        settings = replace(asked.settings, memory=answer.case_memory, less_memory="raise --max-memory")
        data = answer.demand.data + question.share - answer.demand.base
        limits = replace(execution.limits, memory=data, one_at_a_time=True)
        asked, execution = replace(asked, settings=settings), replace(execution, limits=limits)
    of_scan = answer.seconds * sizes.mean_voxels / sizes.largest.voxels
    fast = asked.settings.margin is not None
    say.line(_time_line(budget, of_scan, to_start, sizes.cases, max(1, workers), fast=fast))
    if budget.ends is not None:
        asked = replace(asked, deadline=Deadline(budget.ends, of_scan))
        execution = replace(execution, limits=replace(execution.limits, ends=budget.ends))
    return asked, execution


def _size(case: Input) -> ScanSize | None:
    """The size of a case by the header of its first file; None for one that is known when it is read."""
    first = next(iter(case.task.channels.values()))
    return scan_size.of_file(first, len(case.task.channels)) if isinstance(first, Path) else None


def _question(budget: Budget, asked: Asked, largest: ScanSize, workers: int) -> Question:
    description = model_folder.read(asked.model).description
    here = (resident_memory("VmRSS") or 0) + _OWN
    others = here if workers else 0
    share = None if budget.memory is None else (budget.memory - others) // max(1, workers)
    return Question(
        asked.model,
        asked.device,
        asked.numerics,
        asked.threads,
        asked.settings.mode,
        largest,
        CaseMemory(
            0,
            0.0,
            scaled=is_scaled(description),
            confidence=asked.settings.confidence,
            probabilities=len(description.class_list()) if asked.settings.probabilities else 0,
        ),
        share=share if share is not None else 0,
        own=_OWN if not workers else 0,
        workers=workers,
        others=others,
    )


def _require_enough(memory: int, question: Question, answer: Answer) -> None:
    if answer.pieces:
        return
    needed = question.others + max(1, question.workers) * answer.smallest
    smallest = math.ceil(_MEASURED_AGAIN * needed / (10 * _MB)) * 10
    shape = " × ".join(map(str, question.largest.shape))
    details = f"{memory / _MB:,.0f} MB; a scan of {shape} voxels takes {smallest:,} MB in the smallest pieces"
    fewer = ", or --workers 0" if question.workers else ""
    how_to_fix = f"give at least {smallest}MB for {_processes(question.workers)}{fewer}"
    raise MedsegError(Code.USAGE, "--max-memory", details, how_to_fix)


def _processes(workers: int) -> str:
    return "one process" if not workers else f"{workers + 1} processes"


def _memory_line(memory: int, question: Question, answer: Answer, sizes: _Sizes) -> str:
    most = question.others + max(1, question.workers) * answer.expected
    shape = " × ".join(map(str, sizes.largest.shape))
    of = f"the largest scan, {shape} voxels" if sizes.known else f"a scan of {shape} voxels"
    later = (
        ""
        if len(sizes.known) == sizes.cases
        else "; sizes that are known only when a scan is read come on top"
    )
    return (
        f"memory: {answer.pieces}, at most about {most / _MB:,.0f} of {memory / _MB:,.0f} MB in "
        f"{_processes(question.workers)} for {of}{later}"
    )


def _time_line(
    budget: Budget, of_scan: float, to_start: float, cases: int, workers: int, *, fast: bool
) -> str:
    total = of_scan * cases / workers
    scans = f"{cases} scan{'' if cases == 1 else 's'}"
    line = f"time: about {seconds_in_words(of_scan)} a scan, {seconds_in_words(total)} for {scans}"
    if budget.seconds is None or budget.ends is None:
        return line
    left = max(0.0, budget.ends - time.time() - to_start)
    if total <= left:
        return f"{line}, of {seconds_in_words(budget.seconds)}"
    fitting = int(left / of_scan) * workers
    remedy = "" if fast else "; --fast may take a faster runtime"
    return (
        f"{line}: about {fitting} fit into the {seconds_in_words(left)} left, and the next run "
        f"goes on with the others{remedy}"
    )
