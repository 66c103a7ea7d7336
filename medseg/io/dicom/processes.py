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
import select
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from medseg.process import most_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
_Answer = tuple[bool, Any]
"""True and a result, or False and an exception."""

_Message = list[memoryview]

_MOST = 8
_TRIAL, _TRIAL_S = 16, 0.1
"""Items, or seconds, that are spent here before the time of the rest is estimated."""

_WORTH_S = 0.3
"""Rests that take less are done here: to start helpers takes about as long."""

_AHEAD, _AHEAD_BYTES = 4, 2**15
"""Requests that a helper has at once; their bytes fit into a pipe, so that sending never waits."""

_WINDOW = 16
"""Answers for each helper that may wait for their turn: bounds their memory."""

_PIPE_BYTES = 2**20
_PROGRAM = "import sys; sys.path[:] = {!r}; from medseg.io.dicom.processes import serve; serve()"


def spread(
    function: Callable[[Item], Result], items: Sequence[Item], if_died: Callable[[Item], Result]
) -> Generator[Result, None, None]:
    """Yield ``function`` of each item, in order, computed by several processes where that is faster.

    ``if_died`` gives the result of an item at which a helper died. The function can be imported by its name;
    items, results and exceptions can be pickled. Raises the exceptions of both functions.
    """
    started = time.monotonic()
    trial: list[Result] = []
    while len(trial) < min(len(items), _TRIAL) and time.monotonic() < started + _TRIAL_S:
        trial.append(function(items[len(trial)]))
    each = (time.monotonic() - started) / max(len(trial), 1)
    rest = items[len(trial) :]
    yield from trial
    if not rest:
        return
    with _POOL.helpers(each * len(rest)) as helpers:
        if helpers:
            yield from _Job(function, items[0], rest, helpers).results(if_died)
        else:
            yield from map(function, rest)


def alone(function: Callable[[Item], Result], item: Item) -> Result:
    """``function`` of an item, computed by a helper of its own; raises ChildProcessError if that dies.

    Raises the function's exceptions, and OSError where no helper can start.
    """
    helper = _Helper()
    try:
        helper.send(_packed((function, item)))
        is_good, value = helper.receive()
    except (EOFError, OSError, ValueError, pickle.UnpicklingError):
        raise ChildProcessError("a helper process died") from None
    finally:
        helper.end()
    if not is_good:
        raise value
    result: Result = value
    return result


class _Helper:
    """A process that answers requests in their order.

    ``owed`` counts the answers to come that nobody waits for.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(sys.path)]
        one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        own = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        # In a session of its own: Ctrl-C reaches this process alone, whose end closes the pipes.
        self.process = subprocess.Popen(command, env=one, bufsize=0, start_new_session=True, **own)  # type: ignore[call-overload]
        self.replies: BinaryIO = self.process.stdout
        self.requests: BinaryIO = self.process.stdin
        self.owed = 0
        with contextlib.suppress(ImportError, AttributeError, OSError):  # on Linux, room for several frames
            import fcntl

            fcntl.fcntl(self.replies, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def begin(self, example: _Message) -> None:
        """Send a request whose answer nobody needs; after it all is imported that others like it need."""
        while self.owed:
            self.receive()
            self.owed -= 1
        self.send(example)
        self.owed = 1

    def send(self, request: _Message) -> None:
        """Send a request; waits where its bytes do not fit into the pipe."""
        _send(self.requests, request)

    def receive(self) -> _Answer:
        """Wait for the next answer. Raises EOFError, OSError, ValueError or UnpicklingError after death."""
        answer: _Answer = _receive(self.replies)
        return answer

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
        count = min(most_threads(), _MOST)
        if self._helpers or count < 2 or os.name == "nt":  # whose pipes cannot be waited for together
            return
        atexit.register(self.end)
        with contextlib.suppress(OSError):  # no room for processes: those that did start serve
            self._helpers.extend(_Helper() for _ in range(count))

    def end(self) -> None:
        while self._helpers:
            self._helpers.pop().end()
        atexit.unregister(self.end)


_POOL = _Pool()


class _Job:
    """One function's items, handed to helpers; answers wait here for their turn.

    A helper's first request is ``example``, an item that was done already: until it has started and imported
    what the function needs, nobody waits for it.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        example: Any,
        items: Sequence[Any],
        helpers: Sequence[_Helper],
    ) -> None:
        self._function, self._items = function, items
        self._example = _packed((function, example))
        self._todo = deque(range(len(items)))
        self._answers: dict[int, _Answer | None] = {}
        """None for an item at which a helper died."""
        self._next = 0
        self._most = _WINDOW * len(helpers)
        self._sent: dict[_Helper, deque[tuple[int, int]]] = {helper: deque() for helper in helpers}
        """Numbers and bytes of the requests that each living helper has."""

    def results(self, if_died: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield all results in order; items are done here until the first helper is there, or if all died."""
        for helper in list(self._sent):
            self._attempt(helper, self._begin)
        for index, item in enumerate(self._items):
            self._next = index
            answer = self._answer(index)
            if answer is None:
                yield if_died(item)
            elif answer[0]:
                yield answer[1]
            else:
                raise answer[1]

    def _answer(self, index: int) -> _Answer | None:
        while index not in self._answers:
            alone = all(helper.owed for helper in self._sent)
            if alone and (own := self._take()) is not None:
                self._answers[own] = _answer(self._function, self._items[own])
            self._exchange(wait=not alone)
        return self._answers.pop(index)

    def _take(self) -> int | None:
        """The next item that nobody does, unless too many answers wait already."""
        if self._todo and self._todo[0] < self._next + self._most:
            return self._todo.popleft()
        return None

    def _exchange(self, *, wait: bool) -> None:
        """Take the answers that are there, after one has come if ``wait``, and keep the helpers in work."""
        by_pipe = {helper.replies: helper for helper in self._sent}
        for pipe in select.select(list(by_pipe), [], [], None if wait else 0)[0]:
            self._attempt(by_pipe[pipe], self._receive)
        for helper in list(self._sent):
            if not helper.owed:
                self._attempt(helper, self._fill)

    def _begin(self, helper: _Helper) -> None:
        helper.begin(self._example)

    def _receive(self, helper: _Helper) -> None:
        answer = helper.receive()
        if helper.owed:
            helper.owed -= 1
        else:
            self._answers[self._sent[helper].popleft()[0]] = answer

    def _fill(self, helper: _Helper) -> None:
        """Send requests ahead; a long one alone, since a helper whose answers nobody takes reads nothing."""
        sent = self._sent[helper]
        while len(sent) < _AHEAD and (index := self._take()) is not None:
            request = _packed((self._function, self._items[index]))
            size = sum(part.nbytes for part in request)
            if sent and size + sum(before for _, before in sent) > _AHEAD_BYTES:
                self._todo.appendleft(index)
                return
            sent.append((index, size))
            helper.send(request)

    def _attempt(self, helper: _Helper, exchange: Callable[[_Helper], object]) -> None:
        """Exchange something with a helper; if it died, the item that it was at is lost, not those behind."""
        try:
            exchange(helper)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            sent = self._sent.pop(helper)
            if sent:
                self._answers[sent.popleft()[0]] = None
            self._todo.extendleft(index for index, _ in reversed(sent))


def _answer(function: Callable[[Any], Any], item: Any) -> _Answer:
    try:
        return True, function(item)
    except Exception as error:  # raised again where the result is asked for
        return False, error


def _packed(message: Any) -> _Message:
    """A message as it passes through a pipe; arrays in it as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [len(body), *(view.nbytes for view in views)]
    return [memoryview(struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes) + body), *views]


def _send(pipe: BinaryIO, message: _Message) -> None:
    for part in message:
        rest = part
        while rest:
            rest = rest[pipe.write(rest) :]


def _receive(pipe: BinaryIO) -> Any:
    (count,) = struct.unpack("<Q", _exactly(pipe, 8))
    body, *buffers = (_exactly(pipe, size) for size in struct.unpack(f"<{count}Q", _exactly(pipe, 8 * count)))
    return pickle.loads(body, buffers=buffers)  # noqa: S301 - the bytes are our own process's


def _exactly(pipe: BinaryIO, size: int) -> bytearray:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        if not (count := pipe.readinto(rest)):  # type: ignore[attr-defined]
            raise EOFError
        rest = rest[count:]
    return content


def serve() -> None:
    """Answer requests from standard input until it ends: the main loop of a helper."""
    requests, replies = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what a codec prints is no answer
    while True:
        try:
            function, item = _receive(requests)
        except (EOFError, OSError):
            return
        _send(replies, _packed(_answer(function, item)))
