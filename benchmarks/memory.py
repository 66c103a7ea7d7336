"""Peak memory of segmenting a scan of 256×128×256, and of one with four times as many slices.

    python benchmarks/memory.py                         # U-SegNet, dense: minutes on two cores
    python benchmarks/memory.py --network one-layer     # the same path with next to no arithmetic

Each scan is segmented in a fresh process, whose high-water mark (``ru_maxrss``) is read at its end: within
one process the mark of the first scan would hide a smaller second one. This parent imports nothing large,
because on Linux a child's mark starts at its parent's size. What may grow with the slices is the scan as
float32 and the label map (one byte a voxel); peak minus these should stay as it is.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

IN_PLANE = (256, 128)
SLICES = 256
MB = 1e6


def segment(slices: int, network_name: str, *, vote: bool, margin: bool) -> float:
    """Segment a synthetic scan (256, 128, ``slices``) int16 by random weights; give the seconds it took."""
    import numpy as np

    from medseg.infer import predict
    from medseg.preprocess import geometry, intensity
    from medseg.volume import Grid, Volume

    predictor = random_predictor(network_name)
    shape = (*IN_PLANE, slices)
    array = np.random.default_rng(0).integers(0, 300, (1, *shape), dtype=np.int16)
    scan = Volume(array, Grid(shape, np.diag([-1.0, 1.5, 1.0, 1.0])))
    how = predict.Voting() if vote else predict.Dense()
    start = time.perf_counter()
    placed, record = geometry.apply(scan, geometry.GeometryPlan())
    ready = intensity.Ready(placed.array, placed.grid, intensity.measure(placed, "auto", "zscore"))
    result = predict.label(ready, predictor, how, margin=margin)
    geometry.undo(placed.with_array(result.labels[None]), record)
    return time.perf_counter() - start


def random_predictor(name: str) -> Any:
    """A network of the table with random weights, or ``one-layer``: a single convolution."""
    import torch

    from medseg import networks
    from medseg.infer.predict import NetworkPredictor, Spec

    if name == "one-layer":
        return NetworkPredictor(torch.nn.Conv2d(3, 4, 3, padding=1), Spec("axial", 3, 1, 4, step=1))
    network = networks.build(name, in_channels=3, classes=4, seed=0)
    return NetworkPredictor(network, Spec("axial", 3, 1, 4, network.step, network.context))


def allowance(slices: int) -> float:
    """The scan as float32 and the label map, in MB."""
    return IN_PLANE[0] * IN_PLANE[1] * slices * (4 + 1) / MB


def peak() -> float:
    """This process's high-water mark of resident memory, in MB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1 if sys.platform == "darwin" else 1 / 1024) / MB


def in_fresh_process(slices: int, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments, "--child", str(slices)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="usegnet", help="a name of medseg's table, or one-layer")
    parser.add_argument("--vote", action="store_true", help="40×40 windows at stride 10 instead of dense")
    parser.add_argument("--margin", action="store_true", help="keep the margin map, two bytes a voxel more")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        seconds = segment(options.child, options.network, vote=options.vote, margin=options.margin)
        print(json.dumps({"peak": peak(), "seconds": seconds}))
        return
    print(f"{'slices':>7}{'peak MB':>9}{'scan as float32 + labels MB':>29}{'rest MB':>9}{'seconds':>9}")
    rest = []
    for slices in (SLICES, 4 * SLICES):
        found = in_fresh_process(slices, arguments)
        rest.append(found["peak"] - allowance(slices))
        figures = f"{found['peak']:9.0f}{allowance(slices):29.0f}{rest[-1]:9.0f}{found['seconds']:9.1f}"
        print(f"{slices:7d}{figures}")
    print(f"the rest differs by {rest[1] - rest[0]:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
