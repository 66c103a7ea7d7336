"""Units of work on a Dask cluster, whose workers see the same folders as this machine by the same paths."""

from __future__ import annotations

import io
import logging
import os
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Any

from medseg.errors import Code, Finding, MedsegError
from pipelines.execution.limits import Limits
from pipelines.execution.steps import Ended, Outcome, Steps, Task, Work

TOO_LATE = 71
"""Exit code of a worker that ended itself because a unit took too long."""

_AHEAD = 2
"""Tasks for each thread of the cluster that the scheduler holds at once; the others wait here."""

_CONNECT_S = 20.0


def run(
    tasks: Sequence[Task], work: Work[Task, Outcome], *, scheduler: str, limits: Limits
) -> Iterator[tuple[int, Outcome]]:
    """Yield (number, outcome) of every task as it ends, carried out by the workers of a Dask scheduler.

    A task whose worker dies is given to another one; what the scheduler gives up is tried again alone at the
    end, so that the one at fault is named. Raises EXTRA_MISSING, CLUSTER_UNREACHABLE, also where the
    scheduler is lost meanwhile, and what a step raises.
    """
    try:
        yield from _outcomes(tasks, work, scheduler, limits)
    except (CancelledError, OSError) as error:
        if not _is_lost_connection(error):
            raise
        details = "the connection was lost; what is done is kept"
        how_to_fix = "start the scheduler again, then run the same command again"
        raise MedsegError(Code.CLUSTER_UNREACHABLE, scheduler, details, how_to_fix) from None


def _outcomes(
    tasks: Sequence[Task], work: Work[Task, Outcome], scheduler: str, limits: Limits
) -> Iterator[tuple[int, Outcome]]:
    with _connected(scheduler) as client, client.as_current():
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        name, make = f"medseg-{uuid.uuid4().hex[:8]}", message(work.make)
        numbered = iter(range(len(tasks)))
        numbers: dict[Any, int] = {}
        suspects: list[int] = []

        def submit(number: int, remark: str = "") -> Any:
            arguments = (carry_out, make, message(tasks[number]), limits.seconds)
            future = client.submit(*arguments, key=f"{name}-{number}{remark}", pure=False)
            numbers[future] = number
            return future

        ending = as_completed([submit(number) for number in islice(numbered, _room(client))])
        for future in ending:
            number = numbers.pop(future)
            try:
                yield number, future.result()
            except KilledWorker:  # another task of that worker may have been the reason
                suspects.append(number)
            if (following := next(numbered, None)) is not None:
                ending.add(submit(following))
        for number in suspects:
            try:
                yield number, submit(number, "-alone").result()
            except KilledWorker as killed:
                details = f"the workers that had it died, the last one {killed.last_worker.name}"
                how_to_fix = "look at the workers' logs and memory, then run again with --retry"
                yield number, work.lost(tasks[number], Finding(Code.WORKER_KILLED, "", details, how_to_fix))


def check(scheduler: str) -> None:
    """Connect once; raises EXTRA_MISSING, CLUSTER_UNREACHABLE."""
    with _connected(scheduler):
        pass


def message(value: Any) -> bytes:
    """A value as it is sent to workers: a pickle in which paths are absolute, as workers start elsewhere."""
    stream = io.BytesIO()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(value)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, PurePath):
            return type(value), (os.path.abspath(value),)  # noqa: PTH100 - links are left as they are
        return NotImplemented


def carry_out(make: bytes, task: bytes, seconds: float | None) -> Any:
    """Carry out one unit on a worker; what it needs is made once in the worker's process.

    A unit that takes longer than ``seconds`` ends the worker's process, as nothing gentler ends all code.
    """
    with _MAKING:
        steps = _made(make)
    timer = threading.Timer(seconds, os._exit, [TOO_LATE]) if seconds is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        content = steps.read(pickle.loads(task))  # noqa: S301 - from the scheduler, as all code
        if not isinstance(content, Ended):
            content = steps.compute(content)
        return content.outcome if isinstance(content, Ended) else steps.write(content)
    finally:
        if timer is not None:
            timer.cancel()


_MAKING = threading.Lock()
"""Held while steps are made, so that the threads of a worker share one model."""


@lru_cache(maxsize=1)
def _made(make: bytes) -> Steps[Any, Any]:
    function: Callable[[], Steps[Any, Any]] = pickle.loads(make)  # noqa: S301 - from the scheduler, as all code
    return function()


def _connected(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        how_to_fix = "pip install 'medseg[cluster]'"
        raise MedsegError(Code.EXTRA_MISSING, "--executor dask", "needs distributed", how_to_fix) from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # one line tells of a lost scheduler
    try:
        return Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:  # a TypeError: no certificate for tls://
        details = f"no scheduler answers ({type(error).__name__})"
        how_to_fix = "start one with `dask scheduler`, give it as tcp://HOST:PORT; tls:// needs certificates"
        raise MedsegError(Code.CLUSTER_UNREACHABLE, scheduler, details, how_to_fix) from None


def _is_lost_connection(error: Exception) -> bool:
    """True for what distributed raises once the scheduler is gone; a task may raise other OSErrors."""
    from distributed.comm import CommClosedError

    return isinstance(error, CancelledError | CommClosedError)


def _room(client: Any) -> int:
    """Tasks that the cluster is given at once."""
    threads: int = sum(client.nthreads().values())
    return max(1, threads) * _AHEAD
