"""What is left of each tool's time for the same windows when the network's own is taken away."""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks.suite import windows
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import beyond, in_turn

SHAPE = (160, 128, 6)


def run(options: Options) -> Measured:
    """Six slices of noise, U-SegNet of width 1."""
    array = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    work = windows.Work.of(array, width=1)
    network, batches = work.predictor(), work.windows()
    one_by_one = [window[None] for batch in batches for window in batch]
    calls = {
        "network alone, batches of 64": windows.network_alone(network, batches),
        "medseg": windows.by_medseg(work, network),
        "MONAI SlidingWindowInferer": windows.by_monai(work, network),
        "TorchIO GridSampler": windows.by_torchio(work, network),
        "network alone, one by one": windows.network_alone(network, one_by_one),
        "nnU-Net predictor": windows.by_nnunet(work, network),
    }
    ways = in_turn(calls, options.pick(11, 2))
    alone, one = ways["network alone, batches of 64"], ways["network alone, one by one"]
    tools = ("medseg", "MONAI SlidingWindowInferer", "TorchIO GridSampler")
    beside = {name: beyond(ways[name], alone) for name in tools}
    beside["nnU-Net predictor"] = beyond(ways["nnU-Net predictor"], one)
    ours = statistics.median(beside["medseg"])
    ratios = {name: statistics.median(runs) / ours for name, runs in beside.items()}
    return Measured(
        f"6 slices of 160×128 px, {len(one_by_one)} windows",
        ways | {f"{name}: without the network": Way(runs) for name, runs in beside.items()},
        {
            "MONAI's machinery over medseg's": ratios["MONAI SlidingWindowInferer"],
            "TorchIO's machinery over medseg's": ratios["TorchIO GridSampler"],
            "nnU-Net's machinery over medseg's": ratios["nnU-Net predictor"],
        },
        notes=["nnU-Net's predictor gives the network one window at a time, whose time alone is taken away"],
    )
