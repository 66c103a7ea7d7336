"""Helper processes that read headers and decode pixels beside this one.

pydicom's parser and the codecs hold Python's global lock, so threads gain nothing. A helper is this Python
started anew; requests and results go through its standard input and output, so that neither shared memory
(`/dev/shm`) nor semaphores are needed. Helpers start at the first job that is long enough, serve the jobs
after it and end with this process. Where none can start, everything is done here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Answer = tuple[bool, Any]
"""True and a result, or False and an exception."""

_MOST = 8
_TRIAL = 16
"""Items that are done here before the time of the rest is estimated."""

_WORTH_S = 0.3
"""Helpers take so long to start; shorter rests are done here."""

_AHEAD, _AHEAD_BYTES = 4, 2**15
"""Requests that a helper has at once; their bytes fit into a pipe, so that sending never waits."""

_WINDOW = 16
"""Answers for each helper that may wait for their turn: bounds their memory."""

_PIPE_BYTES = 2**20
_PROGRAM = "import sys; sys.path[:] = {!r}; from medseg.io.dicom.processes import serve; serve()"


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result, None, None]:
    """Yield ``function`` of each item, in order, computed by several processes where that is faster.

    The function can be imported by its name; items, results and exceptions can be pickled. Raises the
    function's exceptions, and ChildProcessError for an item at which a helper died.
    """
    started = time.monotonic()
    trial = [function(item) for item in items[:_TRIAL]]
    each = (time.monotonic() - started) / max(len(trial), 1)
    yield from trial
    rest = items[_TRIAL:]
    if not rest:
        return
    with _POOL.helpers(each * len(rest)) as helpers:
        if helpers:
            yield from _Job(function, rest, helpers).results()
        else:
            yield from map(function, rest)


class _Helper:
    """A process that answers requests in their order."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(sys.path)]
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        own = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        # In a session of its own: Ctrl-C reaches this process alone, whose end closes the pipes.
        self.process = subprocess.Popen(command, env=alone, start_new_session=True, **own)  # type: ignore[call-overload]
        self.replies: BinaryIO = self.process.stdout
        self.requests: BinaryIO = self.process.stdin
        with contextlib.suppress(ImportError, AttributeError, OSError):  # on Linux, room for several frames
            import fcntl

            fcntl.fcntl(self.replies, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.replies, self.requests):
            with contextlib.suppress(OSError):
                pipe.close()


class _Pool:
    """The helpers of this process: started when first needed, lent to one job at a time."""

    def __init__(self) -> None:
        self._lent = threading.Lock()
        self._helpers: list[_Helper] = []

    @contextlib.contextmanager
    def helpers(self, seconds: float) -> Iterator[list[_Helper]]:
        """Lend helpers for work of so many seconds; none where it is too short or they are lent already.

        A job that is left with answers outstanding, or in which a helper died, ends them all.
        """
        if seconds < _WORTH_S or not self._lent.acquire(blocking=False):
            yield []
            return
        try:
            self._start()
            yield self._helpers
            if any(helper.process.poll() is not None for helper in self._helpers):
                self.end()
        except BaseException:
            self.end()
            raise
        finally:
            self._lent.release()

    def _start(self) -> None:
        count = min(_processors(), _MOST)
        if self._helpers or count < 2:
            return
        atexit.register(self.end)
        with contextlib.suppress(OSError):  # no room for processes: those that did start serve
            self._helpers.extend(_Helper() for _ in range(count))

    def end(self) -> None:
        while self._helpers:
            self._helpers.pop().end()
        atexit.unregister(self.end)


_POOL = _Pool()


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Job:
    """One function's items, handed to helpers by a thread for each; answers wait here for their turn."""

    def __init__(
        self, function: Callable[[Any], Any], items: Sequence[Any], helpers: Sequence[_Helper]
    ) -> None:
        self._function, self._items = function, items
        self._todo = deque(range(len(items)))
        self._answers: dict[int, _Answer] = {}
        self._changed = threading.Condition()
        self._next = 0
        self._most = _WINDOW * len(helpers)
        self._answering = False
        self._threads = [threading.Thread(target=self._serve, args=(h,), daemon=True) for h in helpers]

    def results(self) -> Iterator[Any]:
        """Yield all results in order; items are done here until the first helper answers, or if all died."""
        for thread in self._threads:
            thread.start()
        try:
            for index in range(len(self._items)):
                self._next = index
                is_good, value = self._answer(index)
                if not is_good:
                    raise value
                yield value
        finally:
            with self._changed:
                self._todo.clear()  # the threads end

    def _answer(self, index: int) -> _Answer:
        while True:
            with self._changed:
                if index in self._answers:
                    self._changed.notify_all()
                    return self._answers.pop(index)
                alone = not self._answering or not any(thread.is_alive() for thread in self._threads)
                own = self._take() if alone else None
                if own is None:
                    self._changed.wait(0.05)
                    continue
            answer = _answer(self._function, self._items[own])
            with self._changed:
                self._answers[own] = answer

    def _take(self) -> int | None:
        """The next item that nobody does, unless too many answers wait already; called under the lock."""
        if self._todo and self._todo[0] < self._next + self._most:
            return self._todo.popleft()
        return None

    def _serve(self, helper: _Helper) -> None:
        """Keep a helper in work until there is none."""
        sent: deque[tuple[int, int]] = deque()
        has_started = False
        try:
            while self._send(helper, sent):
                answer = pickle.load(helper.replies)  # noqa: S301 - the bytes are a helper's of our own
                has_started = True
                with self._changed:
                    self._answers[sent.popleft()[0]] = answer
                    self._answering = True
                    self._changed.notify_all()
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._give_back(sent, has_started=has_started)

    def _send(self, helper: _Helper, sent: deque[tuple[int, int]]) -> bool:
        """Send requests ahead; False if nothing is left to wait for."""
        while len(sent) < _AHEAD and sum(size for _, size in sent) < _AHEAD_BYTES:
            with self._changed:
                while (index := self._take()) is None and self._todo and not sent:
                    self._changed.wait(0.05)
            if index is None:
                break
            request = pickle.dumps((self._function, self._items[index]))
            sent.append((index, len(request)))
            helper.requests.write(request)
            helper.requests.flush()
        return bool(sent)

    def _give_back(self, sent: deque[tuple[int, int]], *, has_started: bool) -> None:
        """After a helper's death: the item that it was at has failed, those behind it are done again."""
        with self._changed:
            if sent and has_started:
                died = ChildProcessError("a helper process died")
                self._answers[sent.popleft()[0]] = (False, died)
            self._todo.extendleft(index for index, _ in reversed(sent))
            self._changed.notify_all()


def _answer(function: Callable[[Any], Any], item: Any) -> _Answer:
    try:
        return True, function(item)
    except Exception as error:  # raised again where the result is asked for
        return False, error


def serve() -> None:
    """Answer requests from standard input until it ends: the main loop of a helper."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints is no answer
    while True:
        try:
            function, item = pickle.load(requests)  # noqa: S301 - the bytes are the parent's
        except (EOFError, OSError):
            return
        pickle.dump(_answer(function, item), replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()
