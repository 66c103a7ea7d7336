"""A brain by windows: medseg step by step (layout, skipping, runtime), and each peer as documented."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite import brains, windows
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import in_turn, over
from medseg.grid import Array
from medseg.infer.empty import without_empty_space
from medseg.infer.inferers import MajorityVote
from medseg.infer.runtimes import OpenVinoPredictor
from medseg.io import nifti
from medseg.model import onnx_graph

PLAIN = "medseg, torch's own layout"
LAYOUT = "medseg, + channels last"
SKIPPING = "medseg, + empty windows skipped"
RUNTIME = "medseg, + OpenVINO fp32"
PEERS = ("MONAI SlidingWindowInferer", "TorchIO GridSampler", "nnU-Net predictor")


def run(options: Options) -> Measured:
    """The foreground's box of a synthetic brain, as all tools may be given it."""
    array = cut_to_foreground(nifti.read(brains.brain(options.cache)[0]).array[0].astype(np.float32))
    array = array[..., options.pick(slice(None), slice(70, 74))]
    width = options.pick(16, 4)
    work = windows.Work.of(array, width)
    plain, last = work.predictor(channels_last=False), work.predictor()
    with tempfile.TemporaryDirectory() as folder:
        graph = as_graph(Path(folder), work, width)
    calls = {
        PLAIN: windows.by_medseg(work, plain),
        LAYOUT: windows.by_medseg(work, last),
        SKIPPING: windows.by_medseg(work, skipping(work, last)),
        RUNTIME: windows.by_medseg(work, skipping(work, graph)),
        PEERS[0]: windows.by_monai(work, plain),
        PEERS[1]: windows.by_torchio(work, plain),
        PEERS[2]: windows.by_nnunet(work, plain),
    }
    ways = in_turn(calls, options.pick(2, 1), warm=0)
    best = min((ways[name] for name in (SKIPPING, RUNTIME)), key=lambda way: way.median)
    fastest = min((ways[name] for name in PEERS), key=lambda way: way.median)
    return Measured(
        f"{'×'.join(map(str, array.shape))} voxels around a synthetic brain, {share(work)} of windows empty",
        ways,
        figures(ways, fastest, best),
        notes=["peers average logits where medseg votes; nnU-Net's predictor is not given mirrored windows"],
    )


def figures(ways: dict[str, Way], fastest: Way, best: Way) -> dict[str, float]:
    """Ratios of the whole, and of each step to the one before it."""
    return {
        "time of the fastest peer over medseg's": over(fastest, best),
        "share of layout: times as fast": over(ways[PLAIN], ways[LAYOUT]),
        "share of skipped windows: times as fast": over(ways[LAYOUT], ways[SKIPPING]),
        "share of the runtime: times as fast": over(ways[SKIPPING], ways[RUNTIME]),
    }


def skipping(work: windows.Work, predictor: Any) -> Any:
    """As `segment` has it: windows of background alone are not computed."""
    return without_empty_space(predictor, work.volume, MajorityVote(windows.WINDOW), lambda: None)


def share(work: windows.Work) -> str:
    """The share of windows that hold nothing but background."""
    empty = [(batch == batch.min()).flatten(1).all(dim=1) for batch in work.windows()]
    return f"{sum(int(e.sum()) for e in empty) / sum(map(len, empty)):.0%}"


def as_graph(folder: Path, work: windows.Work, width: int) -> OpenVinoPredictor:
    """The work's network as a graph that OpenVINO runs in fp32."""
    path = folder / "network.onnx"
    is_free = onnx_graph.write(path, windows.network_of(width), windows.WINDOW)
    sides = None if is_free else windows.WINDOW
    return OpenVinoPredictor(path.read_bytes(), work.spec, sides, path, 1, "fp32")


def cut_to_foreground(array: Array, margin: int = 8) -> Array:
    """The box around what is not 0, as recipes crop volumes."""
    inside = [np.flatnonzero((array != 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(max(0, i[0] - margin), i[-1] + 1 + margin) for i in inside)
    return np.asfortranarray(array[box])
