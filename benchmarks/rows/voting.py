"""Voting over the network's time alone; MONAI and TorchIO call the same network on the same windows."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.suite import windows
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured
from benchmarks.suite.timing import in_turn, over

SHAPE = (160, 128)


def run(options: Options) -> Measured:
    """Noise, so that no window is empty."""
    slices = options.pick(3, 1)
    array = np.asfortranarray(np.random.default_rng(0).normal(100, 20, (*SHAPE, slices)).astype(np.float32))
    work = windows.Work.of(array, width=options.pick(64, 8))
    network, batches = work.predictor(), work.windows()
    calls = {
        "network alone": windows.network_alone(network, batches),
        "medseg": windows.by_medseg(work, network),
        "MONAI SlidingWindowInferer": windows.by_monai(work, network),
        "TorchIO GridSampler": windows.by_torchio(work, network),
    }
    ways = in_turn(calls, options.pick(5, 1))
    alone = ways["network alone"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for batch in batches:
            work.network(batch)
    return Measured(
        f"{slices} slices of {SHAPE[0]}×{SHAPE[1]} px, {sum(map(len, batches))} windows, batches of 64",
        ways,
        {
            "medseg's time over the network's alone": over(ways["medseg"], alone),
            "MONAI's over the network's alone": over(ways["MONAI SlidingWindowInferer"], alone),
            "TorchIO's over the network's alone": over(ways["TorchIO GridSampler"], alone),
        },
        {"operations at the rate of matrix products": options.matrix_floor(counter.get_total_flops())},
        ["all call one network with batch norm folded, in channels-last layout; peers average logits"],
    )
