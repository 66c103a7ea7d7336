"""Peak memory of `medseg segment` on scans of 256×128×32 and of two, four and eight times as many slices.

With several planes, on one scan of 256×256×256.

    python benchmarks/memory.py                              # U-SegNet with random weights, dense: minutes
    python benchmarks/memory.py --model work/x/model         # a trained model
    python benchmarks/memory.py --planes mean                # three planes, joined by mean or vote

All scans are read from files, segmented and written in one process, the model loaded once. Linux keeps a
process's high-water mark of resident memory (VmHWM) and resets it on request, so that each scan has its own.
Resident are also pages of mapped files, which the system can take back: "held" is the most that was resident
without them (RssAnon), looked at after each slice.
What may grow with the slices is the scan as float32 and the label map (a byte a voxel); the peak minus these
should stay as it is.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medseg import networks
from medseg.classes import ClassList
from medseg.grid import Grid
from medseg.infer import loading, results
from medseg.infer.loading import Model
from medseg.infer.segment import segment
from medseg.io import nifti
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.volume import Volume

IN_PLANE = (256, 128)
CUBE = (256, 256)
CUBE_SLICES = 256
SLICES = (32, 64, 128, 256)
MB = 1e6


def random_model(folder: Path, network: str, planes: str | None) -> Path:
    """A model folder with random weights: one channel, slabs of three slices, four classes."""
    classes = ClassList.from_names({0: "background", 1: "csf", 2: "gm", 3: "wm"})
    about = Description(
        name="random",
        network=network,
        keywords={},
        channels=("t1",),
        plane=("axial", "coronal", "sagittal") if planes else "axial",
        depth=3,
        classes=tuple(classes.to_json()),
        foreground="auto",
        spacing_mm=None,
        crop=False,
        crop_margin=0,
        n4=False,
        intensity="zscore",
        mode="dense",
        window=(40, 40),
        stride=(10, 10),
        batch=None,
        ensemble="vote" if planes == "vote" else "mean",
        domain={},
        trained={},
    )
    state = networks.build(network, in_channels=3, classes=len(classes), seed=0).state_dict()
    model_folder.export(folder, {"fold0": state}, about)
    return folder


def write_scan(path: Path, shape: tuple[int, int, int]) -> None:
    """A noise scan int16, its slices along the model's plane."""
    array = np.random.default_rng(0).integers(0, 300, (1, *shape), dtype=np.int16)
    nifti.write(Volume(array, Grid(shape, np.diag([1.0, 1.5, 1.0, 1.0]))), path)


def reset_peak() -> None:
    """Set this process's high-water mark to what it holds now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(of: str) -> float:
    """This process's `VmHWM` (its most resident memory since the last reset) or `RssAnon`, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{of}:"))
    return int(kilobytes) * 1024 / MB


def measure(scan: Path, shape: tuple[int, int, int], model: Model, options: argparse.Namespace) -> float:
    """Segment and write one scan; print a line and give the peak minus what may grow, in MB."""
    resident: list[float] = []
    reset_peak()
    start = time.perf_counter()
    channel = model.description.channels[0]
    result = segment(
        {channel: scan},
        model,
        mode="vote" if options.vote else "dense",
        confidence=options.confidence,
        progress=lambda *_: resident.append(memory("RssAnon")),
    )
    label = results.label_map(scan.parent, "labels", "mm")
    results.write(result, model.description.class_list(), label, "benchmark", {})
    seconds = time.perf_counter() - start
    allowance = math.prod(shape) * (4 + 1) / MB
    peak = memory("VmHWM")
    rest = peak - allowance
    print(
        f"{shape[-1]:7d}{peak:9.0f}{max(resident):9.0f}{allowance:29.0f}{rest:9.0f}{seconds:9.1f}", flush=True
    )
    return rest


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a model folder of one channel, instead of random weights")
    parser.add_argument("--network", default="usegnet", help="with random weights: a name of medseg's table")
    parser.add_argument("--vote", action="store_true", help="40×40 windows at stride 10 instead of dense")
    parser.add_argument("--confidence", action="store_true", help="the confidence map too")
    parser.add_argument("--planes", choices=("mean", "vote"), help="with random weights: three, so joined")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or random_model(Path(scratch) / "model", options.network, options.planes)
        model = loading.load(folder)
        several = len(model.description.planes) > 1
        shapes = [(*CUBE, CUBE_SLICES)] if several else [(*IN_PLANE, slices) for slices in SLICES]
        scans = [(Path(scratch) / f"scan{shape[-1]}.nii.gz", shape) for shape in shapes]
        for path, shape in scans:
            write_scan(path, shape)
        columns = ("peak MB", "held MB", "scan as float32 + labels MB", "rest MB", "seconds")
        print(f"{'slices':>7}" + "".join(f"{name:>{max(9, len(name) + 2)}}" for name in columns))
        rest = [measure(path, shape, model, options) for path, shape in scans]
    if not several:
        print(f"the rest grows by {rest[-1] - rest[0]:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
