"""Batches drawn one ahead: while step t trains, one thread draws batch t + 1."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")


def ahead(draw: Callable[[int], Batch], steps: range) -> Generator[tuple[int, Batch], None, None]:
    """Yield each step of ``steps`` with its batch; what ``draw`` raises is raised at its step.

    A batch depends on its number alone, so the thread changes nothing but the time. Closing the generator
    waits for the one batch under way.
    """
    if not steps:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        pending = pool.submit(draw, steps[0])
        for t in steps:
            batch = pending.result()
            if t != steps[-1]:
                pending = pool.submit(draw, t + steps.step)
            yield t, batch
