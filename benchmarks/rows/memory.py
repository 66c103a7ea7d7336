"""Peak memory of `segment` for scans of 1, 2, 4 and 8 times as many slices."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import memory
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from medseg.infer import loading

TIMES = (1, 2, 4, 8)


def run(options: Options) -> Measured:
    """Full U-SegNet with random weights on whole slices; scans are read from files and labels written."""
    slices = options.pick(32, 4)
    settings = argparse.Namespace(vote=False, confidence=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = loading.load(memory.random_model(folder / "model", "usegnet", None))
        shapes = [(*memory.IN_PLANE, slices * times) for times in TIMES]
        rest = []
        for shape in (shapes[0], *shapes):  # the first one is not counted: libraries are loaded meanwhile
            scan = folder / f"scan{shape[-1]}.nii.gz"
            memory.write_scan(scan, shape)
            rest.append(memory.measure(scan, shape, model, settings))
    return Measured(
        f"slices of {memory.IN_PLANE[0]}×{memory.IN_PLANE[1]} px, full U-SegNet",
        {f"{s[-1]} slices": Way((mb,), unit="MB") for s, mb in zip(shapes, rest[1:], strict=True)},
        {"memory beyond scan and label map, at 8 times the slices over at 1": rest[-1] / rest[1]},
        notes=["the process's peak of resident memory, torch and libraries with it, less scan and label map"],
    )
