"""Units of work one after another in one process: the next is read, and the last written, meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from pipelines.execution.steps import Ended, Outcome, Step, Steps, Task

Notice = Callable[[int, Step | None], None]
"""Called with the number of a task and the step that begins; with None where that has ended."""

_BEHIND = 2
"""Results that may wait to be written before no further one is computed: bounds the memory."""


def _unnoticed(_number: int, _step: Step | None) -> None:
    """Tell nobody."""


def overlapped(
    tasks: Iterable[tuple[int, Task]], steps: Steps[Task, Outcome], notice: Notice = _unnoticed
) -> Iterator[tuple[int, Outcome]]:
    """Yield (number, outcome) of numbered tasks in their order; one is read ahead, one written behind.

    ``tasks`` is asked for the next one as soon as the last one is read. Raises what a step raises, after
    the steps that were going on have ended.
    """
    numbered = iter(tasks)
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
        ahead: Future[tuple[int, Any] | None] | None = reading.submit(_read_next, numbered, steps, notice)
        written: list[tuple[int, Future[Outcome]]] = []
        while ahead is not None or written:
            _wait_for_one(ahead, written)
            if written and written[0][1].done():
                number, outcome = written.pop(0)
                yield number, outcome.result()
            elif ahead is not None and (item := ahead.result()) is None:
                ahead = None
            elif item is not None:
                number, content = item
                ahead = reading.submit(_read_next, numbered, steps, notice)
                if not isinstance(content, Ended):
                    content = _noticed(steps.compute, content, number, "compute", notice)
                written.append((number, writing.submit(_write, content, number, steps, notice)))


def one_by_one(
    tasks: Iterable[tuple[int, Task]], steps: Steps[Task, Outcome], notice: Notice = _unnoticed
) -> Iterator[tuple[int, Outcome]]:
    """Yield (number, outcome) as :func:`overlapped` does, with one task in memory at a time."""
    for number, task in tasks:
        content = _noticed(steps.read, task, number, "read", notice)
        if not isinstance(content, Ended):
            content = _noticed(steps.compute, content, number, "compute", notice)
        outcome = _write(content, number, steps, notice)
        del content
        yield number, outcome


def _wait_for_one(ahead: Future[Any] | None, written: list[tuple[int, Future[Any]]]) -> None:
    """Wait until a task is read, or the first of those being written is; for the latter if two are."""
    futures = [future for _, future in written[:1]]
    if ahead is not None and len(written) < _BEHIND:
        futures.append(ahead)
    wait(futures, return_when=FIRST_COMPLETED)


def _read_next(
    numbered: Iterator[tuple[int, Task]], steps: Steps[Task, Outcome], notice: Notice
) -> tuple[int, Any] | None:
    task = next(numbered, None)
    return None if task is None else (task[0], _noticed(steps.read, task[1], task[0], "read", notice))


def _write(content: Any, number: int, steps: Steps[Task, Outcome], notice: Notice) -> Outcome:
    if isinstance(content, Ended):
        ended: Outcome = content.outcome
        return ended
    written: Outcome = _noticed(steps.write, content, number, "write", notice)
    return written


def _noticed(function: Callable[[Any], Any], given: Any, number: int, step: Step, notice: Notice) -> Any:
    notice(number, step)
    try:
        return function(given)
    finally:
        notice(number, None)
