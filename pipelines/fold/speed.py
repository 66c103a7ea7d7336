"""The speed of a training on this machine, from a few of its own steps; other programs change it little."""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from medseg.config.recipe import Recipe
from medseg.infer.predictor import autocast_dtype
from medseg.networks.contract import Network
from medseg.process import most_threads
from medseg.train.fit import fit
from pipelines.fold.fold import FoldTraining

TRIAL_STEPS = 4
LONGER_S = 2.0
"""Seconds that a trial may take where its steps are so short that a few say little."""
MOST_STEPS = 60
_FORWARDS = 3


@dataclass(frozen=True)
class Moment:
    """Seconds on three clocks: the wall's, processor time of the thread that trains, and of the process."""

    wall: float
    thread: float
    process: float

    @classmethod
    def now(cls) -> Moment:
        """Read the clocks."""
        return cls(time.perf_counter(), time.thread_time(), time.process_time())


def step_alone(moments: Sequence[Moment], *, on_cpu: bool, processors: int) -> float:
    """Seconds of a step on a machine that does nothing else, from the ``moments`` at which steps ended.

    On a CPU it is processor time, which does not pass while other programs have the processor: that of the
    thread that trains, or of all threads over the ``processors`` if they are too few to draw beside it; the
    median of the steps. A GPU's work takes no processor time: there it is the fastest step.
    """
    steps = list(pairwise(moments))
    wall = min(after.wall - before.wall for before, after in steps)
    if not on_cpu:
        return wall
    busy = [
        max(after.thread - before.thread, (after.process - before.process) / processors)
        for before, after in steps
    ]
    return statistics.median(busy) or wall  # clocks of some systems are too coarse to see a step


def seconds_of_step(arguments: dict[str, Any]) -> float:
    """Seconds of a training step, by trial steps of the same loop on a copy of the network.

    ``arguments`` are those of :func:`medseg.train.fit.fit`.
    """
    on_cpu = torch.device(arguments["plan"].device).type == "cpu"

    def measured(steps: int) -> float:
        return step_alone(_trial(arguments, steps), on_cpu=on_cpu, processors=most_threads())

    first = measured(TRIAL_STEPS)
    more = min(MOST_STEPS, int(LONGER_S / max(first, 1e-6)))
    return measured(more) if more > 2 * TRIAL_STEPS else first


def _trial(arguments: dict[str, Any], steps: int) -> list[Moment]:
    """The moments at which trial steps ended; nothing of them is kept."""
    plan, network = arguments["plan"], copy.deepcopy(arguments["network"])
    short = replace(plan, epochs=1, steps_per_epoch=steps, phases=(), processes=1, schedule="constant")
    moments: list[Moment] = []
    with tempfile.TemporaryDirectory() as scratch:
        trial = {**arguments, "network": network, "plan": short, "folder": Path(scratch), "validate": None}
        for _ in fit(**trial, on_step=lambda *_: moments.append(Moment.now())):
            pass
    return moments


def seconds_of_pixel(
    training: FoldTraining, network: Network, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of the forward pass of one pixel, the fastest of some.

    The network is left in evaluation mode.
    """
    device, window = torch.device(training.plan.device), training.recipe.sampling.window
    clock = time.thread_time if device.type == "cpu" else clock
    low = autocast_dtype(training.plan.precision, device)
    batch = torch.zeros(4, network.in_channels, *window, device=device)
    network = network.to(device).eval()
    seconds = []
    with torch.inference_mode(), torch.autocast(device.type, low, enabled=low is not None):
        for _ in range(_FORWARDS):
            began = clock()
            network(batch).sum().item()
            seconds.append(clock() - began)
    return min(seconds) / (len(batch) * math.prod(window))


def overlap(recipe: Recipe, network: Network) -> float:
    """The number of times that each pixel is seen in a prediction, by its mode."""
    settings = recipe.predict
    window = settings.window or recipe.sampling.window
    if settings.mode == "tiles":
        return math.prod(side / max(1, side - 2 * network.border) for side in window)
    if settings.mode == "dense":
        return 1.0
    usual = (10, 10) if settings.mode == "vote" else (window[0] // 2, window[1] // 2)
    stride = settings.stride or usual
    return math.prod(max(1.0, side / by) for side, by in zip(window, stride, strict=True))
