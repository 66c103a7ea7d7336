"""One training in several processes of this machine, watched from the one that started them.

Each process makes its own network, cases and loss from one picklable function: open files and memory maps do
not travel. The first process's epochs come back through a queue, so that the caller's loop is the same as
with one process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from queue import Empty
from typing import Any

import torch

from medseg.errors import MedsegError
from medseg.train.fit import fit
from medseg.train.plan import Epoch
from medseg.train.stop import Stopped, handle_stop_signals

Make = Callable[[], Mapping[str, Any]]
"""Gives the arguments of :func:`medseg.train.fit.fit` but ``on_step``; a function that can be pickled."""

_LOOK_EVERY_S = 0.5
_LAST_CHECKPOINT_S = 120.0
_ORDERLY_END_S = 10.0


def fit_in_processes(
    make: Make, processes: int, on_step: Callable[[int, int, float], None] | None = None
) -> Iterator[Epoch]:
    """Train as :func:`medseg.train.fit.fit` does, in as many processes as the plan that ``make`` gives says.

    SIGINT and SIGTERM are passed on, and :class:`Stopped` is raised once the checkpoint is written. A fault
    in one process ends all and is raised here.
    """
    with handle_stop_signals() as request, closing(_Workers(make, processes)) as workers:
        while True:
            if request.signum:
                workers.ask_to_stop()
            kind, value = workers.next_message()
            if kind == "step" and on_step is not None:
                on_step(*value)
            elif kind == "epoch":
                yield value
            elif kind == "error":
                stopped = isinstance(value, Stopped) and request.signum
                raise Stopped(value.step, request.signum) if stopped else value
            elif kind == "done":
                return


class _Workers:
    """The processes, and the queue of their messages."""

    def __init__(self, make: Make, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.messages: Any = context.Queue()
        self.asked = False
        port = free_port()
        self.workers = [
            context.Process(target=_work, args=(rank, port, make, self.messages), daemon=True)
            for rank in range(processes)
        ]
        for worker in self.workers:
            worker.start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once: a second one would not wait for the checkpoint."""
        if not self.asked:
            self.asked = True
            for worker in self.workers:
                worker.terminate()

    def next_message(self) -> tuple[str, Any]:
        """Wait for the next message of a process; ("nothing", None) after half a second."""
        try:
            message: tuple[str, Any] = self.messages.get(timeout=_LOOK_EVERY_S)
        except Empty:
            codes = [worker.exitcode for worker in self.workers]
            if self.asked and None not in codes:
                raise KeyboardInterrupt from None
            if any(codes) or None not in codes:
                raise RuntimeError(f"a process of the training ended unheard; exit codes {codes}") from None
            return "nothing", None
        return message

    def close(self) -> None:
        """Wait for all to end: long where a last checkpoint is being written; then end what has not."""
        until = time.monotonic() + (_LAST_CHECKPOINT_S if self.asked else _ORDERLY_END_S)
        for worker in self.workers:
            worker.join(max(0.0, until - time.monotonic()))
        for worker in self.workers:
            if worker.is_alive():
                worker.kill()
                worker.join()


def _work(rank: int, port: int, make: Make, messages: Any) -> None:
    """Train in one process; Fabric learns its place among the others from the environment."""
    os.setsid()  # Ctrl-C in the terminal reaches the parent alone, which passes it on once
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }

    def on_step(step: int, total: int, loss: float) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            signal.raise_signal(signal.SIGTERM)
        if rank == 0:
            messages.put(("step", (step, total, loss)))

    try:
        for epoch in fit(**make(), on_step=on_step):
            if rank == 0:
                messages.put(("epoch", epoch))
    except (MedsegError, Stopped) as refusal:
        messages.put(("error", refusal))
    except Exception:
        messages.put(("error", RuntimeError(f"process {rank} of the training:\n{traceback.format_exc()}")))
    else:
        if rank == 0:
            messages.put(("done", None))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def free_port() -> int:
    """Find a port of this machine that nothing uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
