"""Peak memory of `medseg segment` on a scan of 256×128×256, and on one with four times as many slices.

    python benchmarks/memory.py                              # U-SegNet with random weights, dense: minutes
    python benchmarks/memory.py --model work/x/model         # a trained model

Both scans are read from files, segmented and written in one process, the model loaded once. Linux keeps a
process's high-water mark of resident memory (VmHWM) and resets it on request, so that each scan has its own.
What may grow with the slices is the scan as float32 and the label map (a byte a voxel); the peak minus these
should stay as it is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medseg import networks
from medseg.infer import modelfolder
from medseg.infer.modelfolder import Description, Model
from medseg.infer.segment import segment_file
from medseg.io import nifti
from medseg.volume import ClassList, Grid, Volume

IN_PLANE = (256, 128)
SLICES = 256
MB = 1e6


def random_model(folder: Path, network: str) -> Path:
    """A model folder with random weights: one channel, slabs of three axial slices, four classes."""
    classes = ClassList.from_names({0: "background", 1: "csf", 2: "gm", 3: "wm"})
    about = Description(
        name="random",
        network=network,
        keywords={},
        channels=("t1",),
        plane="axial",
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
        combine="mean",
        domain={},
        trained={},
    )
    state = networks.build(network, in_channels=3, classes=len(classes), seed=0).state_dict()
    modelfolder.export(folder, {"fold0": state}, about)
    return folder


def write_scan(path: Path, slices: int) -> None:
    """A noise scan (256, 128, `slices`) int16, its slices along the model's plane."""
    shape = (*IN_PLANE, slices)
    array = np.random.default_rng(0).integers(0, 300, (1, *shape), dtype=np.int16)
    nifti.write(Volume(array, Grid(shape, np.diag([1.0, 1.5, 1.0, 1.0]))), path)


def reset_peak() -> None:
    """Set this process's high-water mark to what it holds now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """This process's high-water mark of resident memory since the last reset, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / MB


def measure(scan: Path, slices: int, model: Model, options: argparse.Namespace) -> float:
    """Segment one scan; print a line and give the peak minus what may grow, in MB."""
    reset_peak()
    start = time.perf_counter()
    mode = "vote" if options.vote else "dense"
    channel = model.description.channels[0]
    segment_file({channel: scan}, model, scan.with_name("labels.nii.gz"), mode=mode, margin=options.margin)
    seconds = time.perf_counter() - start
    allowance = IN_PLANE[0] * IN_PLANE[1] * slices * (4 + 1) / MB
    found = peak()
    print(f"{slices:7d}{found:9.0f}{allowance:29.0f}{found - allowance:9.0f}{seconds:9.1f}", flush=True)
    return found - allowance


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a model folder of one channel, instead of random weights")
    parser.add_argument("--network", default="usegnet", help="with random weights: a name of medseg's table")
    parser.add_argument("--vote", action="store_true", help="40×40 windows at stride 10 instead of dense")
    parser.add_argument("--margin", action="store_true", help="the margin map too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or random_model(Path(scratch) / "model", options.network)
        scans = [(Path(scratch) / f"scan{n}.nii.gz", n) for n in (SLICES, 4 * SLICES)]
        for path, slices in scans:
            write_scan(path, slices)
        model = modelfolder.load(folder)
        print(f"{'slices':>7}{'peak MB':>9}{'scan as float32 + labels MB':>29}{'rest MB':>9}{'seconds':>9}")
        rest = [measure(path, slices, model, options) for path, slices in scans]
    print(f"the rest differs by {rest[1] - rest[0]:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
