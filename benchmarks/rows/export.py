"""Labels brought onto a large grid and written: nearest label, class scores, and nnU-Net's own step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import resample
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over

BYTES_READ = 4


def run(options: Options) -> Measured:
    """All ways in turn, each in a process of its own, which reads the same logits."""
    grid = resample.record().grid.shape
    with tempfile.TemporaryDirectory() as folder:
        source, files = Path(folder, "logits.npy"), {w: Path(folder, f"{w}.npy") for w in resample.WAYS}
        resample.make_logits(source, grid)
        rounds = [
            {way: resample.measured(way, source, files[way]) for way in resample.WAYS}
            for _ in range(options.pick(3, 1))
        ]
        labels = {way: np.load(path) for way, path in files.items()}
    ways = {
        way: Way(tuple(r[way]["written_s"] for r in rounds), peak_mb=max(r[way]["peak_mb"] for r in rounds))
        for way in resample.WAYS
    }
    either = (labels["scores"] > 0) | (labels["nnunet"] > 0)
    peer = ways["nnunet"]
    peaks = {way: float(peer.peak_mb or 0) / float(ways[way].peak_mb or 1) for way in resample.WAYS}
    traffic = BYTES_READ * resample.CLASSES * np.prod(grid) + np.prod(resample.SHAPE)
    names = {"nearest": "medseg, nearest label", "scores": "medseg, class scores", "nnunet": "nnU-Net's step"}
    return Measured(
        f"{resample.CLASSES} classes, {_sides(grid)} → {_sides(resample.SHAPE)}, one writer for all",
        {names[way]: measured for way, measured in ways.items()},
        {
            "nearest label: nnU-Net's time over medseg's": over(peer, ways["nearest"]),
            "nearest label: nnU-Net's peak memory over medseg's": peaks["nearest"],
            "class scores: nnU-Net's time over medseg's": over(peer, ways["scores"]),
            "class scores: nnU-Net's peak memory over medseg's": peaks["scores"],
            "class scores: share of foreground with nnU-Net's label": float(
                (labels["scores"] == labels["nnunet"])[either].mean()
            ),
        },
        {"logits read and labels written once at the rate of copies": options.copy_floor(float(traffic))},
    )


def _sides(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
