"""HD95, ASSD and NSD of four classes in a volume, smooth and speckled: medseg and MONAI in turn.

    python benchmarks/surface_peers.py [--side 256] [--rounds 3]

Both get the same class indices; MONAI gets them as one-hot masks, made before the clock starts. What is
printed and written to `benchmarks/results/surface_peers.json` are medians of seconds and of ratios, and the
largest relative difference between values.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

from medseg.grid import Array
from medseg.metrics import surface

RESULT = Path(__file__).parent / "results/surface_peers.json"
SPACING, TOLERANCE, CLASSES = (1.0, 1.2, 0.9), 2.0, (1, 2, 3, 4)


def pairs(side: int) -> Iterator[tuple[str, Array, Array]]:
    """Name, truth and prediction (X, Y, Z) uint8: smooth classes in a ball, and the same with speckle."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, side)
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 0.6
    field = ndimage.zoom(rng.normal(size=(side // 16,) * 3), 16, order=1)
    moved = np.roll(field, (1, 2, 0), axis=(0, 1, 2))
    truth, prediction = (
        np.where(ball, 1 + np.digitize(f, [-0.4, 0.0, 0.4]), 0).astype(np.uint8) for f in (field, moved)
    )
    yield "smooth", truth, prediction
    noise = rng.random(truth.shape) < 0.02
    yield "speckled", truth, np.where(noise, rng.integers(0, 5, truth.shape), prediction).astype(np.uint8)


def by_medseg(truth: Array, prediction: Array) -> Array:
    """Values (4, 3): HD95, ASSD and NSD of each class."""
    rows = []
    for value in CLASSES:
        distances = surface.distances(truth == value, prediction == value, SPACING)
        assert distances is not None  # noqa: S101 - every class is in both
        rows.append([distances.hd95, distances.assd, distances.nsd(TOLERANCE)])
    return np.array(rows)


def by_monai(truth: torch.Tensor, prediction: torch.Tensor) -> Array:
    """The same of one-hot masks (1, 4, X, Y, Z)."""
    common = {"include_background": True, "spacing": SPACING}
    hd95 = compute_hausdorff_distance(prediction, truth, percentile=95, **common)
    assd = compute_average_surface_distance(prediction, truth, symmetric=True, **common)
    nsd = compute_surface_dice(prediction, truth, [TOLERANCE] * len(CLASSES), **common)
    return torch.stack([hd95[0], assd[0], nsd[0]], dim=1).double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = {}
    for name, truth, prediction in pairs(arguments.side):
        one_hot = [
            torch.stack([torch.from_numpy(m == v) for v in CLASSES])[None] for m in (truth, prediction)
        ]
        seconds: list[tuple[float, float]] = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            ours = by_medseg(truth, prediction)
            between = time.perf_counter()
            theirs = by_monai(*one_hot)
            seconds.append((between - start, time.perf_counter() - between))
        rows[name] = {
            "medseg_s": round(statistics.median(a for a, _ in seconds), 2),
            "monai_s": round(statistics.median(b for _, b in seconds), 2),
            "ratio": round(statistics.median(b / a for a, b in seconds), 2),
            "largest_relative_difference": float(np.max(np.abs(ours - theirs) / np.abs(theirs))),
        }
    versions = {package: metadata.version(package) for package in ("monai", "scipy")}
    content = {"side": arguments.side, "rounds": arguments.rounds, "versions": versions, "masks": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
