"""Batches drawn ahead: while step t trains, threads draw the batches after it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from medseg.process import most_threads

Batch = TypeVar("Batch")

_MOST_THREADS = 8


def draw_threads(device: torch.device) -> int:
    """Number of threads that draw for a network on this device: the processors that it leaves, 1 to 8."""
    return min(max(1, spare_processors(device)), _MOST_THREADS)


def most_helpers(device: torch.device, processes: int) -> int:
    """Number of processes that may draw beside each of ``processes`` that train: 0 to 8."""
    trains_itself = 0 if device.type == "cpu" else processes
    return min(max(0, spare_processors(device) - trains_itself) // processes, _MOST_THREADS)


def spare_processors(device: torch.device) -> int:
    """Processors that a network on this device leaves: none where torch's threads take all of them."""
    taken = torch.get_num_threads() if device.type == "cpu" else 0
    return max(0, most_threads() - taken)


def ahead(
    draw: Callable[[int], Batch],
    steps: range,
    threads: int = 1,
    on_wait: Callable[[float], None] = lambda _seconds: None,
) -> Generator[tuple[int, Batch], None, None]:
    """Yield each step of ``steps`` with its batch; what ``draw`` raises is raised at its step.

    A batch depends on its number alone, so threads change nothing but the time. Each draws one batch ahead,
    and no more wait to be trained on than there are threads. ``on_wait`` gets the seconds for which a batch
    was waited for. Closing the generator waits for the batches under way.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="draw")
    try:
        pending: deque[Future[Batch]] = deque(pool.submit(draw, t) for t in steps[:threads])
        for number, t in enumerate(steps):
            start = time.monotonic()
            batch = pending.popleft().result()
            on_wait(time.monotonic() - start)
            pending.extend(
                pool.submit(draw, later) for later in steps[number + threads : number + threads + 1]
            )
            yield t, batch
    finally:
        pool.shutdown(cancel_futures=True)
