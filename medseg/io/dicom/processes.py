"""Helper processes that read headers and decode pixels beside this one.

pydicom's parser and the codecs hold Python's global lock, so threads gain nothing. Helpers
(:mod:`medseg.helper_process`) start at the first job that is long enough, serve the jobs after it and end
with this process. Where none can start, everything is done here. What may end a process (:func:`apart`) is
done by a helper however short it is.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from medseg import helper_process
from medseg.helper_process import DIED, Answer, HelperProcess, Message, answer, packed
from medseg.process import most_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST = 8
_TRIAL, _TRIAL_S = 16, 0.1
"""Items, or seconds, that are spent here before the time of the rest is estimated."""

_WORTH_S = 0.3
"""Rests that take less are done here: to start helpers takes about as long."""

_AHEAD, _AHEAD_BYTES = 4, 2**15
"""Requests that a helper has at once; their bytes fit into a pipe, so that sending never waits."""

_WINDOW = 16
"""Answers for each helper that may wait for their turn: bounds their memory."""


def spread(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    if_died: Callable[[Item], Result],
    *,
    here: bool = True,
) -> Generator[Result, None, None]:
    """Yield ``function`` of each item, in order, computed by several processes where that is faster.

    ``if_died`` gives the result of an item at which a helper died. The function can be imported by its name;
    items, results and exceptions can be pickled. Raises the exceptions of both functions. Where a helper
    would be asked anyhow (:func:`apart`), ``here`` is False: while there are helpers, they do it all.
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
            yield from _Job(function, items[0], rest, helpers, here=here).results(if_died)
        else:
            yield from map(function, rest)


def alone(function: Callable[[Item], Result], item: Item) -> Result:
    """``function`` of an item, computed by a helper of its own; raises ChildProcessError if that dies.

    Raises the function's exceptions, and OSError where no helper can start.
    """
    helper = HelperProcess()
    try:
        is_good, value = _asked(helper, function, item, helper.end)
    finally:
        helper.end()
    if not is_good:
        raise value
    result: Result = value
    return result


def apart(function: Callable[[Item], Result], item: Item) -> Result:
    """``function`` of an item, computed where the end of the process costs this item alone.

    That is a helper that stays for the next item; a helper that calls this computes it itself, and so does
    this process where none can start. Raises ChildProcessError if the helper died, and the function's
    exceptions.
    """
    if helper_process.IS_HELPER:
        return function(item)
    pool = _POOL if _POOL.lent.acquire(blocking=False) else _SPARE
    if pool is _SPARE:
        _SPARE.lent.acquire()
    try:
        answer = pool.answer(function, item)
    finally:
        pool.lent.release()
    if not answer[0]:
        raise answer[1]
    result: Result = answer[1]
    return result


def make_ready(example: Callable[[Item], object], item: Item) -> None:
    """Start the helper of :func:`apart` without waiting for it, and let it do an example of its work."""
    if not helper_process.IS_HELPER:
        _POOL.make_ready(packed((example, item)))


def _asked(
    helper: HelperProcess, function: Callable[[Any], Any], item: Any, end: Callable[[], None]
) -> Answer:
    """A helper's answer; raises ChildProcessError after ``end`` if it died."""
    try:
        while helper.owed:
            helper.receive()
            helper.owed -= 1
        helper.send(packed((function, item)))
        return helper.receive()
    except DIED:
        end()
        raise ChildProcessError("a helper process died") from None


class _Pool:
    """The helpers of this process: started when first needed, lent to one job at a time."""

    def __init__(self) -> None:
        self.lent = threading.Lock()
        self._helpers: list[HelperProcess] = []

    def answer(self, function: Callable[[Any], Any], item: Any) -> Answer:
        """Ask the first helper, while this is lent; where none can start it is done here."""
        self._start(1)
        return _asked(self._helpers[0], function, item, self.end) if self._helpers else answer(function, item)

    def make_ready(self, example: Message) -> None:
        """Start the first helper, unless there is one already or somebody has this."""
        if not self._helpers and self.lent.acquire(blocking=False):
            try:
                self._start(1)
                with contextlib.suppress(*DIED):
                    for helper in self._helpers:
                        helper.begin(example)
            finally:
                self.lent.release()

    @contextlib.contextmanager
    def helpers(self, seconds: float) -> Iterator[list[HelperProcess]]:
        """Lend helpers for work of so many seconds; none where it is too short or they are lent already.

        A job that is left with answers outstanding, or in which a helper died, ends them all.
        """
        count = min(most_threads(), _MOST)
        if os.name == "nt" or count < 2:  # whose pipes cannot be waited for together
            seconds = 0.0
        if seconds < _WORTH_S or not self.lent.acquire(blocking=False):
            yield []
            return
        try:
            self._start(count)
            yield self._helpers
            if any(helper.process.poll() is not None for helper in self._helpers):
                self.end()
        except BaseException:
            self.end()
            raise
        finally:
            self.lent.release()

    def _start(self, count: int) -> None:
        """Start helpers until there are so many, or no room for more processes."""
        if not self._helpers:
            atexit.register(self.end)
        with contextlib.suppress(OSError):
            while len(self._helpers) < count:
                self._helpers.append(HelperProcess())

    def end(self) -> None:
        while self._helpers:
            self._helpers.pop().end()
        atexit.unregister(self.end)


_POOL, _SPARE = _Pool(), _Pool()
"""The second has a helper for what cannot wait until the first is given back."""


class _Job:
    """One function's items, handed to helpers; answers wait here for their turn.

    A helper's first request is ``example``, an item that was done already: until it has started and imported
    what the function needs, nobody waits for it. Unless items may be done ``here``, there is nothing else to
    do, and it begins with an item of its own.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        example: Any,
        items: Sequence[Any],
        helpers: Sequence[HelperProcess],
        *,
        here: bool,
    ) -> None:
        self._function, self._items, self._here = function, items, here
        self._example = packed((function, example))
        self._todo = deque(range(len(items)))
        self._answers: dict[int, Answer | None] = {}
        """None for an item at which a helper died."""
        self._next = 0
        self._most = _WINDOW * len(helpers)
        self._sent: dict[HelperProcess, deque[tuple[int, int]]] = {helper: deque() for helper in helpers}
        """Numbers and bytes of the requests that each living helper has."""

    def results(self, if_died: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield all results in order; items are done here until the first helper is there, or if all died."""
        for helper in list(self._sent):
            self._attempt(helper, self._begin if self._here else self._fill)
        for index, item in enumerate(self._items):
            self._next = index
            answer = self._answer(index)
            if answer is None:
                yield if_died(item)
            elif answer[0]:
                yield answer[1]
            else:
                raise answer[1]

    def _answer(self, index: int) -> Answer | None:
        while index not in self._answers:
            if not self._here and not self._sent:  # all helpers have died
                return None
            alone = self._here and all(helper.owed for helper in self._sent)
            if alone and (own := self._take()) is not None:
                self._answers[own] = answer(self._function, self._items[own])
            self._exchange(wait=not alone)
        return self._answers.pop(index)

    def _take(self) -> int | None:
        """The next item that nobody does, unless too many answers wait already."""
        if self._todo and self._todo[0] < self._next + self._most:
            return self._todo.popleft()
        return None

    def _exchange(self, *, wait: bool) -> None:
        """Keep the helpers in work, and take the answers that are there, after one has come if ``wait``.

        They get requests before anything is waited for: all may be done that could be sent so far, while the
        answers that were there meanwhile made room for more.
        """
        self._fill_all()
        by_pipe = {helper.replies: helper for helper in self._sent}
        for pipe in select.select(list(by_pipe), [], [], None if wait else 0)[0]:
            self._attempt(by_pipe[pipe], self._receive)
        self._fill_all()

    def _fill_all(self) -> None:
        for helper in list(self._sent):
            if not helper.owed:
                self._attempt(helper, self._fill)

    def _begin(self, helper: HelperProcess) -> None:
        helper.begin(self._example)

    def _receive(self, helper: HelperProcess) -> None:
        answer = helper.receive()
        if helper.owed:
            helper.owed -= 1
        else:
            self._answers[self._sent[helper].popleft()[0]] = answer

    def _fill(self, helper: HelperProcess) -> None:
        """Send requests ahead; a long one alone, since a helper whose answers nobody takes reads nothing."""
        sent = self._sent[helper]
        while len(sent) < _AHEAD and (index := self._take()) is not None:
            request = packed((self._function, self._items[index]))
            size = sum(part.nbytes for part in request)
            if sent and size + sum(before for _, before in sent) > _AHEAD_BYTES:
                self._todo.appendleft(index)
                return
            sent.append((index, size))
            helper.send(request)

    def _attempt(self, helper: HelperProcess, exchange: Callable[[HelperProcess], object]) -> None:
        """Exchange something with a helper; if it died, the item that it was at is lost, not those behind."""
        try:
            exchange(helper)
        except DIED:
            sent = self._sent.pop(helper)
            if sent:
                self._answers[sent.popleft()[0]] = None
            self._todo.extendleft(index for index, _ in reversed(sent))
