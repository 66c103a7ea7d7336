"""What is left of each tool's time for the same windows when the network's own is taken away."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.suite import windows
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import Call, beyond, in_turn

SHAPE = (160, 128, 6)
TOOLS: dict[str, Callable[[windows.Work, Any], Call]] = {
    "medseg": windows.by_medseg,
    "MONAI SlidingWindowInferer": windows.by_monai,
    "TorchIO GridSampler": windows.by_torchio,
    "nnU-Net predictor": windows.by_nnunet,
}


def run(options: Options) -> Measured:
    """Six slices of noise, U-SegNet of width 1; with each tool, the network alone on the batches it gives."""
    # in the order of files, X fastest
    array = np.asfortranarray(np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32))
    work = windows.Work.of(array, width=1)
    network = work.predictor()
    calls: dict[str, Call] = {}
    for name, tool in TOOLS.items():
        recording = windows.Recording(network)
        tool(work, recording)()
        calls |= {
            alone(name): windows.network_alone(network, recording.batches),
            name: tool(work, network),
        }
    ways = in_turn(calls, options.pick(11, 2))
    beside = {name: beyond(ways[name], ways[alone(name)]) for name in TOOLS}
    ours = statistics.median(beside["medseg"])
    ratios = {name: statistics.median(runs) / ours for name, runs in beside.items()}
    return Measured(
        f"6 slices of 160×128 px, {sum(map(len, work.windows()))} windows",
        ways | {f"{name}: without the network": Way(runs) for name, runs in beside.items()},
        {
            "MONAI's machinery over medseg's": ratios["MONAI SlidingWindowInferer"],
            "TorchIO's machinery over medseg's": ratios["TorchIO GridSampler"],
            "nnU-Net's machinery over medseg's": ratios["nnU-Net predictor"],
        },
        notes=[
            "the network alone gets the batches that the tool gives it, in their layout; "
            "nnU-Net's predictor gives it one window at a time"
        ],
    )


def alone(name: str) -> str:
    """The name of the network's own time on a tool's batches."""
    return f"{name}: its batches, the network alone"
