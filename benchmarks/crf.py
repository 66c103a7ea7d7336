"""Seconds and peak memory of the dense CRF on a colour image of 512×512, 21 classes, 10 iterations.

    python benchmarks/crf.py                       # the image in colour, then in grey
    python benchmarks/crf.py --size 64 --check     # also the largest difference to a brute-force mean field

The image is drawn: 40 regions of a colour each, with a slow shading and noise of 5 grey values, so that some
ten thousand colours occur, as in a photograph. The probabilities are the regions' classes under heavy noise.
Peak memory is Linux's high-water mark of resident memory (VmHWM) above what is held before the call.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from medseg.grid import Array
from medseg.infer.crf import refine
from medseg.model.description import CRFSettings
from tests.oracles import crf as oracle

REGIONS = 40
MB = 1e6


def image(size: int, classes: int, seed: int = 0) -> tuple[Array, Array]:
    """A colour image (3, size, size) in 0 to 255 and noisy probabilities (classes, size, size) float32."""
    rng = np.random.default_rng(seed)
    place = np.indices((size, size))
    seeds = rng.uniform(0, size, (REGIONS, 2))
    region = ((place[:, None] - seeds.T[:, :, None, None]) ** 2).sum(0).argmin(0)
    colour = rng.uniform(30, 225, (REGIONS, 3))[region].transpose(2, 0, 1)
    shade = 12 * np.sin(place[0] / size * 5) * np.cos(place[1] / size * 4)
    photo = np.clip(np.rint(colour + shade + rng.normal(0, 5, colour.shape)), 0, 255)
    scores = rng.normal(0, 1.5, (classes, size, size)).astype(np.float32)
    label = rng.integers(0, classes, REGIONS)[region]
    scores[label, place[0], place[1]] += 2
    odds = np.exp(scores)
    return photo, odds / odds.sum(0)


def status(name: str) -> float:
    """A row of this process's /proc status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024 / MB


def measure(name: str, guide: Array, probabilities: Array, crf: CRFSettings, *, check: bool) -> None:
    Path("/proc/self/clear_refs").write_text("5")
    before, start = status("VmRSS:"), time.perf_counter()
    found = refine(probabilities, guide, crf)
    seconds, memory = time.perf_counter() - start, status("VmHWM:") - before
    line = f"{name:>7}{seconds:9.1f} s{memory:9.0f} MB"
    if check:
        bilateral, smooth = oracle.kernels(guide, crf.sigma_alpha, crf.sigma_beta, crf.sigma_gamma)
        kernel = crf.w1 * oracle.normalised(bilateral) + crf.w2 * oracle.normalised(smooth)
        flat = probabilities.reshape(len(probabilities), -1).T.astype(np.float64)
        exact = oracle.mean_field(flat, kernel, crf.iterations).T.reshape(found.shape)
        same = float((exact.argmax(0) == found.argmax(0)).mean())
        line += f"   largest difference {np.abs(exact - found).max():.4f}, equal labels {100 * same:.2f} %"
    print(line, flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--check", action="store_true", help="against brute force; for small sizes")
    options = parser.parse_args(arguments)
    photo, probabilities = image(options.size, options.classes)
    crf = CRFSettings()
    print(f"{options.size}×{options.size}, {options.classes} classes, {crf.iterations} iterations")
    measure("colour", photo, probabilities, crf, check=options.check)
    measure("grey", photo.mean(0, keepdims=True), probabilities, crf, check=options.check)


if __name__ == "__main__":
    main(sys.argv[1:])
