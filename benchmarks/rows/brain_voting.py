"""A brain by windows: medseg step by step, and each peer as its documentation has it.

Peers get the network as it was trained, in torch's own layout: what folds its batch norm, changes its layout,
leaves out windows or runs a graph is medseg's, as `segment` does without being asked, and with `--fast` in a
lower precision, too. MONAI and TorchIO take the stride that medseg takes. nnU-Net takes its own defaults:
half a window, a Gaussian, all mirrored forms.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite import brains, windows
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import Call, in_turn, over
from medseg import device
from medseg.grid import Array
from medseg.infer.empty import without_empty_space
from medseg.infer.inferers import MajorityVote
from medseg.infer.predictor import NetworkPredictor
from medseg.infer.runtimes import GraphPredictor, OnnxPredictor, OpenVinoPredictor
from medseg.io import nifti
from medseg.model import onnx_graph

PLAIN = "medseg, network as trained, torch's own layout"
FOLDED = "medseg, + batch norm folded"
LAYOUT = "medseg, + channels last"
SKIPPING = "medseg, + empty windows skipped"
GRAPHS = ("medseg, + ONNX Runtime fp32", "medseg, + OpenVINO fp32")
LOWER = "medseg, + bf16 (torch)"
PEERS = ("MONAI SlidingWindowInferer", "TorchIO GridSampler", "nnU-Net predictor")


def run(options: Options) -> Measured:
    """The foreground's box of a synthetic brain, as all tools may be given it."""
    array = cut_to_foreground(nifti.read(brains.brain(options.cache)[0]).array[0].astype(np.float32))
    array = array[..., options.pick(slice(None), slice(70, 74))]
    width = options.pick(16, 4)
    work = windows.Work.of(array, width)
    labels: dict[str, Array] = {}
    ways = in_turn(calls(work, width, labels), options.pick(2, 1), warm=0)
    measured = figures(ways)
    if LOWER in labels:
        measured["the same label in bf16, share of voxels"] = float(
            (labels[LOWER] == labels[SKIPPING]).mean()
        )
    return Measured(
        f"{'×'.join(map(str, array.shape))} voxels around a synthetic brain, {share(work)} of windows empty",
        ways,
        measured,
        notes=[
            "MONAI and TorchIO average logits at medseg's stride; nnU-Net's predictor has its defaults: "
            "half a window, a Gaussian, mirrored along both axes"
        ],
    )


def calls(work: windows.Work, width: int, labels: dict[str, Array]) -> dict[str, Call]:
    """Each way; medseg's take one step more than the one before. ``labels`` keeps those of fp32 and bf16."""
    trained = NetworkPredictor(windows.network_of(width), work.spec)
    last = work.predictor()
    with tempfile.TemporaryDirectory() as folder:
        graphs = as_graphs(Path(folder), work, width)
    ways = {
        PLAIN: windows.by_medseg(work, trained),
        FOLDED: windows.by_medseg(work, work.predictor(channels_last=False)),
        LAYOUT: windows.by_medseg(work, last),
        SKIPPING: kept(labels, SKIPPING, windows.by_medseg(work, skipping(work, last))),
    }
    ways |= {
        name: windows.by_medseg(work, skipping(work, graph))
        for name, graph in zip(GRAPHS, graphs, strict=True)
    }
    if device.has_native_bf16("cpu"):
        lower = skipping(work, work.predictor(precision="bf16"))
        ways[LOWER] = kept(labels, LOWER, windows.by_medseg(work, lower))
    return ways | {
        PEERS[0]: windows.by_monai(work, trained),
        PEERS[1]: windows.by_torchio(work, trained),
        PEERS[2]: windows.by_nnunet(work, trained, step=0.5, mirrored=True),
    }


def figures(ways: dict[str, Way]) -> dict[str, float]:
    """Ratios of the whole by the fastest in fp32 and in any precision, and of each step to the one before."""
    fastest = min((ways[name] for name in PEERS), key=lambda way: way.median)
    graph = min((ways[name] for name in GRAPHS), key=lambda way: way.median)
    best = min(ways[SKIPPING], graph, key=lambda way: way.median)
    ratios = {
        "time of the fastest peer over medseg's": over(fastest, best),
        "share of folded batch norm: times as fast": over(ways[PLAIN], ways[FOLDED]),
        "share of layout: times as fast": over(ways[FOLDED], ways[LAYOUT]),
        "share of skipped windows: times as fast": over(ways[LAYOUT], ways[SKIPPING]),
        "share of the runtime: times as fast": over(ways[SKIPPING], graph),
    }
    if LOWER in ways:
        ratios["share of bf16: times as fast"] = over(best, ways[LOWER])
        best = min(best, ways[LOWER], key=lambda way: way.median)
    return ratios | {"time of the fastest peer over medseg's with --fast": over(fastest, best)}


def kept(labels: dict[str, Array], name: str, call: Call) -> Call:
    """The call, whose labels are kept under a name."""

    def run() -> None:
        labels[name] = call()

    return run


def skipping(work: windows.Work, predictor: Any) -> Any:
    """As `segment` has it: windows of background alone are not computed."""
    return without_empty_space(predictor, work.volume, MajorityVote(windows.WINDOW), lambda: None)


def share(work: windows.Work) -> str:
    """The share of windows that hold nothing but background."""
    empty = [(batch == batch.min()).flatten(1).all(dim=1) for batch in work.windows()]
    return f"{sum(int(e.sum()) for e in empty) / sum(map(len, empty)):.0%}"


def as_graphs(folder: Path, work: windows.Work, width: int) -> tuple[GraphPredictor, GraphPredictor]:
    """The work's network as a graph that ONNX Runtime and OpenVINO run in fp32."""
    path = folder / "network.onnx"
    is_free = onnx_graph.write(path, windows.network_of(width), windows.WINDOW)
    given = path.read_bytes(), work.spec, None if is_free else windows.WINDOW, path, 1
    return OnnxPredictor(*given), OpenVinoPredictor(*given, "fp32")


def cut_to_foreground(array: Array, margin: int = 8) -> Array:
    """The box around what is not 0, as recipes crop volumes."""
    inside = [np.flatnonzero((array != 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(max(0, i[0] - margin), i[-1] + 1 + margin) for i in inside)
    return np.asfortranarray(array[box])
