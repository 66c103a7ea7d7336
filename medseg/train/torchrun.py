"""Training in processes that `torchrun` started, on one machine or several that share the work folder.

The first process carries out the command: it alone reads, writes and prints. The others wait until it trains,
train with it, and end with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from medseg.errors import ExitCode
from medseg.train.stop import Stopped

if TYPE_CHECKING:
    from medseg.train.plan import Epoch
    from medseg.train.processes import Make

_LONGEST_WAIT = timedelta(days=7)
"""Time that the others wait for the first process, which may read and prepare a large data set."""


def process_count() -> int:
    """Count the processes that torchrun started; 0 if it did not start this one."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def is_first() -> bool:
    """True in the process that carries out the command."""
    return int(os.environ["RANK"]) == 0


@contextmanager
def leading() -> Iterator[None]:
    """Have the other processes wait for :func:`fit_together` while the block runs; let them end after it.

    Where the block raises, torchrun ends them.
    """
    with _joined():
        yield
        _from_first(None)


def follow() -> ExitCode:
    """Train with the first process each time that it trains, until it ends. Raises as `fit` does."""
    from medseg.train.fit import fit

    with _joined():
        while (make := _from_first(None)) is not None:
            try:
                for _ in fit(**make()):
                    pass
            except Stopped as stop:
                return ExitCode(stop.exit_code)
    return ExitCode.DONE


def fit_together(make: Make, on_step: Callable[[int, int, float], None] | None = None) -> Iterator[Epoch]:
    """Train as :func:`medseg.train.fit.fit` does, in all processes; for the first one, inside `leading`."""
    from medseg.train.fit import fit

    _from_first(make)
    yield from fit(**make(), on_step=on_step)


@contextmanager
def _joined() -> Iterator[None]:
    """Make one group of all processes; on a GPU, NCCL carries the gradients and gloo all else."""
    import torch  # here, as every command asks for the processes, and few need torch
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _from_first(make: Make | None) -> Make | None:
    """Send or receive what the first process gives: the next training, or None for the end."""
    import torch
    from torch import distributed

    message: list[Any] = [make]
    distributed.broadcast_object_list(message, src=0, device=torch.device("cpu"))
    following: Make | None = message[0]
    return following
