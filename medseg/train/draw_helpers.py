"""Batches that processes of their own draw beside the training, where it waits for them.

Drawing is many short calls. Threads of one process hand Python's lock to each other for each of them, so two
draw little more than one (measured: 1.4 times as much), while two processes draw twice as much. They take
some seconds to start and some hundred MB each, so they are started by a training that waits for its batches,
and for no other. Batch t is the same bit for bit, whoever draws it: until the helpers have started, and where
one has died, the thread that asks draws it itself.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import torch

from medseg.grid import Array
from medseg.helper_process import DIED, HelperProcess, Message, packed
from medseg.patches.sampler import PatchSampler

Make = Callable[[int, slice], Sequence[Any]]
"""(t, rows) -> the arrays or tensors of these rows of batch t."""


def can_travel(source: object) -> bool:
    """True for a sampler of cases on disk, which another process opens by their folders."""
    return isinstance(source, PatchSampler) and all(case.folder is not None for case in source.cases)


class DrawHelpers:
    """Makes batches by ``make``, in ``count`` processes once they are started if it can be pickled."""

    def __init__(self, make: Make, count: int) -> None:
        self._make, self._count = make, count
        self._request: Message | None = None
        with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):  # a function in a function
            self._request = packed((_take_over, make))  # at once: later, threads change what is in it
        self._idle: SimpleQueue[HelperProcess] = SimpleQueue()
        self._all: list[HelperProcess] = []
        self._starter: threading.Thread | None = None
        self._is_closed = False

    def __call__(self, t: int, rows: slice) -> Sequence[Any]:
        """Make rows of batch ``t``, in a helper that is free, otherwise here."""
        try:
            helper = self._idle.get_nowait()
        except Empty:
            return self._make(t, rows)
        try:
            helper.send(packed((_made, (t, rows))))
            is_good, value = helper.receive()
        except DIED:
            return self._make(t, rows)
        self._idle.put(helper)
        if not is_good:
            raise value
        arrays: Sequence[Array] = value
        return arrays

    def start(self, *, wait: bool = False) -> None:
        """Start the processes, once, in a thread: they take part as soon as they can, or before this ends."""
        if self._starter is None:
            self._starter = threading.Thread(target=self._start, name="draw-helpers", daemon=True)
            self._starter.start()
        if wait:
            self._starter.join()

    def close(self) -> None:
        """End the processes; nobody may be asking for batches."""
        self._is_closed = True
        for helper in list(self._all):
            helper.end()  # one that is starting dies, and its starter goes on to the end
        if self._starter is not None:
            self._starter.join()
        for helper in self._all:  # one that was started meanwhile
            helper.end()

    def _start(self) -> None:
        if (request := self._request) is None:
            return
        with contextlib.suppress(OSError):  # no room for processes: those that did start serve
            while len(self._all) < self._count and not self._is_closed:
                self._all.append(HelperProcess())
        for step in (lambda helper: helper.send(request), self._welcome):
            for helper in self._all:
                with contextlib.suppress(*DIED):
                    step(helper)

    def _welcome(self, helper: HelperProcess) -> None:
        """Wait until a helper has opened the cases, then lend it to whoever draws."""
        is_good, _ = helper.receive()
        if is_good:
            self._idle.put(helper)


_taken_over: list[Make] = []
"""In a helper: what makes its batches."""


def _take_over(make: Make) -> None:
    torch.set_num_threads(1)
    _taken_over[:] = [make]


def _made(request: tuple[int, slice]) -> list[Array]:
    """Make rows of a batch, in a helper, as arrays, which pass through a pipe as they lie in memory."""
    (make,) = _taken_over
    return [array.numpy() if isinstance(array, torch.Tensor) else array for array in make(*request)]
