"""The growth of `segment`'s time with voxels, classes, input slices, stride, scans; what it is spent on.

    python -m benchmarks.growth          # measures for some minutes, then draws
    python -m benchmarks.growth --draw   # draws what was measured

One thread of torch, U-SegNet of width 16 with random weights on scans of noise, so that nothing is skipped.
Each value is the median of rounds in which all points take their turns. What is measured goes to
`benchmarks/results/growth.json`, the figures to `docs/performance-growth.svg`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.suite import machine
from medseg import device, networks
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.grid import Grid
from medseg.infer import loading, results
from medseg.infer.loading import Model
from medseg.infer.segment import segment
from medseg.io import nifti
from medseg.model import folder as model_folder
from medseg.process import prepare
from medseg.volume import Volume
from pipelines.commands import segment as command
from tests.helpers.model_folders import describe

ROOT = Path(__file__).parents[1]
RESULT, FIGURE = ROOT / "benchmarks/results/growth.json", ROOT / "docs/performance-growth.svg"
WIDTH, SHAPE, SLICES = 16, (128, 128), 24
SIDES, CLASSES, DEPTHS = (48, 64, 80, 96, 112, 128), (2, 4, 8, 16, 32), (1, 3, 5, 7, 9, 11)
STRIDES, SCANS = (20, 16, 12, 10, 8, 6), (1, 2, 4, 8, 16)
STEPS = ("read", "preprocess", "network", "around the network", "undo", "write")


@dataclass
class Timed:
    """A predictor that adds up the seconds of its network."""

    predictor: Any
    seconds: float = 0.0
    spec: Any = field(init=False)

    def __post_init__(self) -> None:
        self.spec = self.predictor.spec

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        logits = self.predictor(batch)
        self.seconds += time.perf_counter() - start
        return logits


def write_model(folder: Path, *, classes: int = 4, depth: int = 3, stride: int = 10) -> Path:
    """A model folder with random weights."""
    names = {value: f"class {value}" if value else "background" for value in range(classes)}
    description = describe(
        keywords={"width": WIDTH},
        depth=depth,
        classes=tuple(ClassList.from_names(names).to_json()),
        window=(40, 40),
        stride=(stride, stride),
        crop=False,
    )
    network = networks.build("usegnet", in_channels=depth, classes=classes, seed=0, width=WIDTH)
    model_folder.export(folder, {"fold0": network.state_dict()}, description)
    return folder


def write_scan(path: Path, shape: tuple[int, int, int]) -> Path:
    """A scan of noise, int16."""
    array = np.random.default_rng(0).integers(1, 300, (1, *shape), dtype=np.int16)
    nifti.write(Volume(array, Grid(shape, np.eye(4))), path)
    return path


def one_scan(model: Model, scan: Path, mode: str) -> dict[str, float]:
    """Seconds of each step from file to file, the network's apart from what is around it."""
    timed = Timed(model.predictor)
    start = time.perf_counter()
    result = segment({"t1": scan}, replace(model, predictor=timed), mode=mode)
    metadata = results.write(
        result, model.description.class_list(), results.label_map(scan.parent, "out", "mm"), "", {}
    )
    total = time.perf_counter() - start
    seconds = {**metadata["seconds"], **result.seconds}  # those of the metadata are rounded
    around = seconds["predict"] - timed.seconds
    steps = {**seconds, "network": timed.seconds, "around the network": around}
    return {"total": total, **{step: steps[step] for step in STEPS}}


def many_scans(model: Path, scans: list[Path], out: Path) -> dict[str, float]:
    """Seconds of one `segment` of several scans in this process, with the loading of the model."""
    start = time.perf_counter()
    quiet = Reporter(quiet=True, stream=io.StringIO(), results=io.StringIO())
    command.run(list(scans), out, command.Settings(model, device="cpu"), quiet)
    return {"total": time.perf_counter() - start}


Point = Callable[[], dict[str, float]]


def points(folder: Path) -> dict[str, dict[int, Point]]:
    """Each curve's points: what is varied → a call that measures it."""
    usual = write_model(folder / "model")
    model, scan = loading.load(usual), write_scan(folder / "scan.nii.gz", (*SHAPE, SLICES))
    cubes = {side: write_scan(folder / f"cube{side}.nii.gz", (side, side, side)) for side in SIDES}
    several = {n: loading.load(write_model(folder / f"classes{n}", classes=n)) for n in CLASSES}
    deep = {n: loading.load(write_model(folder / f"depth{n}", depth=n)) for n in DEPTHS}
    strides = {n: loading.load(write_model(folder / f"stride{n}", stride=n)) for n in STRIDES}
    small = [write_scan(folder / f"small{n:02d}.nii.gz", (96, 96, 24)) for n in range(max(SCANS))]

    def run_of(count: int) -> dict[str, float]:
        return many_scans(usual, small[:count], Path(tempfile.mkdtemp(dir=folder)))

    return {
        "voxels": {side**3: lambda s=side: one_scan(model, cubes[s], "dense") for side in SIDES},
        "classes": {n: lambda n=n: one_scan(several[n], scan, "dense") for n in CLASSES},
        "depth": {n: lambda n=n: one_scan(deep[n], scan, "dense") for n in DEPTHS},
        "stride": {n: lambda n=n: one_scan(strides[n], scan, "vote") for n in STRIDES},
        "scans": {n: lambda n=n: run_of(n) for n in SCANS},
    }


def measure(rounds: int) -> dict[str, Any]:
    """Median seconds of every point; the first round does not count."""
    with tempfile.TemporaryDirectory() as name:
        calls = points(Path(name))
        runs: dict[str, dict[int, list[dict[str, float]]]] = {
            c: {x: [] for x in of} for c, of in calls.items()
        }
        for number in range(1 + rounds):
            for curve, of in calls.items():
                for x, call in of.items():
                    measured = call()
                    if number:
                        runs[curve][x].append(measured)
            print(f"round {number} of {rounds}", flush=True)
    curves = {curve: [{"x": x, **medians(of[x])} for x in sorted(of)] for curve, of in runs.items()}
    load = round(os.getloadavg()[0], 1)
    return {"machine": device.processor(), "versions": machine.versions(), "load": load, "curves": curves}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each value, to four digits."""
    return {key: float(f"{statistics.median(run[key] for run in runs):.4g}") for key in runs[0]}


TITLES = {
    "voxels": ("Voxels (millions)", 1e6),
    "classes": ("Classes", 1),
    "depth": ("Input slices (2.5D)", 1),
    "stride": ("Stride of voting windows of 40 px", 1),
    "scans": ("Scans in one command", 1),
}
TOTAL, NETWORK, REST = "#1f4e79", "#c55a11", "#7f7f7f"


def draw(content: dict[str, Any], path: Path) -> None:
    """Five curves, and the steps of the largest cube as bars; text stays text."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plain = {"svg.fonttype": "none", "svg.hashsalt": "medseg", "font.family": "sans-serif", "font.size": 9}
    with mpl.rc_context(plain):
        figure, axes = plt.subplots(2, 3, figsize=(10.5, 6), layout="constrained")
        for ax, (curve, rows) in zip(axes.flat, content["curves"].items(), strict=False):
            _curve(ax, curve, rows)
        _bars(axes.flat[-1], content["curves"]["voxels"][-1])
        lines = axes.flat[0].get_lines()
        figure.legend(handles=lines, loc="outside upper center", ncols=2, frameon=False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _curve(ax: Any, curve: str, rows: list[dict[str, float]]) -> None:
    title, unit = TITLES[curve]
    x = [row["x"] / unit for row in rows]
    ax.plot(x, [row["total"] for row in rows], "o-", color=TOTAL, markersize=4, label="whole, file to file")
    if "network" in rows[0]:
        ax.plot(
            x, [row["network"] for row in rows], "s--", color=NETWORK, markersize=4, label="network alone"
        )
    ax.set_xlabel(title)
    ax.set_ylabel("seconds")
    ax.set_ylim(0, 1.08 * max(row["total"] for row in rows))
    ax.set_xlim(left=0)
    if curve != "voxels":
        ax.set_xticks(x)
    ax.grid(color="#e5e5e5", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def _bars(ax: Any, row: dict[str, float]) -> None:
    values = [row[step] for step in STEPS]
    colors = [NETWORK if step == "network" else REST for step in STEPS]
    bars = ax.barh(STEPS, values, color=colors, height=0.6)
    ax.bar_label(bars, [f"{value:.3f} s" for value in values], padding=3)
    ax.set_xlim(0, max(values) * 1.25)
    ax.invert_yaxis()
    ax.set_xlabel(f"seconds of the scan of {round(row['x'] ** (1 / 3))}³ voxels")
    ax.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draw", action="store_true", help="draw what was measured before")
    asked = parser.parse_args()
    if not asked.draw:
        prepare()
        torch.set_num_threads(1)
        RESULT.write_text(json.dumps(measure(asked.rounds), indent=1) + "\n", encoding="utf-8")
    draw(json.loads(RESULT.read_text(encoding="utf-8")), FIGURE)


if __name__ == "__main__":
    main()
