"""Training beside two busy processes on two processors: one thread, two threads, two that spin."""

from __future__ import annotations

import os
from contextlib import ExitStack

from benchmarks import neighbours
from benchmarks.batch import processors
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over

CORES = 2
WAYS = {"1 thread": (1, False), "2 threads": (2, False), "2 threads that spin": (2, True)}


def run(options: Options) -> Measured:
    """Each way for some seconds, in turn, in a process of its own; the others wait meanwhile.

    All have the priority of everyone: neighbours in real time would stop the machine.
    """
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    with processors(CORES), ExitStack() as stack:
        trainers = {
            name: stack.enter_context(neighbours.training(threads, spinning=spinning))
            for name, (threads, spinning) in WAYS.items()
        }
        stack.enter_context(neighbours.busy())
        for _ in range(options.pick(5, 1)):
            for name, trainer in trainers.items():
                rates[name].append(neighbours.rate(trainer, options.pick(neighbours.SECONDS, 0.5)))
    measured = {name: Way(tuple(of), unit="patches/s") for name, of in rates.items()}
    return Measured(
        f"batches of {neighbours.BATCH} patches of 40×40 px, full U-SegNet; two processes that multiply, "
        "two processors",
        measured,
        {
            "patches/s of two threads over one": over(measured["2 threads"], measured["1 thread"]),
            "the same without tamed spinning": over(measured["2 threads that spin"], measured["1 thread"]),
        },
    )
