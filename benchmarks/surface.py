"""Surface distances by near offsets, KD-tree and distance transform, on smooth and on speckled masks.

    python benchmarks/surface.py               # a volume of 128³: seconds
    python benchmarks/surface.py --side 256    # a scan's size: minutes

For each pair of masks and each direction it prints the share of the box's voxels to look up, the seconds of
all three methods, the share that offsets leave to the others, the ratio of those (above 1 the distance
transform is faster), the largest difference between their distances, and the method that
`medseg.metrics.surface` chooses for what is left (above a share of `DENSE_SHARE`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from medseg.grid import Array
from medseg.metrics import surface

SPACING = (0.94, 0.94, 1.5)


def pairs(side: int) -> Iterator[tuple[str, Array, Array]]:
    """Name, truth and prediction, each bool of (side, side, side)."""
    rng = np.random.default_rng(0)
    centre = side / 2
    ball = _ball(side, (centre, centre, centre), 0.4 * side)
    yield "two balls", ball, _ball(side, (centre + 2, centre, centre), 0.4 * side)
    for share in (0.001, 0.02, 0.1, 0.3):
        yield f"ball, holes {share:.1%}", ball, ball & (rng.random(ball.shape) > share)
        yield f"ball, speckle {share:.1%}", ball, rng.random(ball.shape) < share


def _ball(side: int, centre: tuple[float, float, float], radius: float) -> Array:
    squares = [(np.arange(side) - c) ** 2 for c in centre]
    inside: Array = sum(np.ix_(*squares)) <= radius**2
    return inside


def _timed(method: str, start: Array, goal: Array) -> tuple[float, Array]:
    begin = time.perf_counter()
    distances: Array = getattr(surface, method)(start, goal, SPACING)
    return time.perf_counter() - begin, distances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=128, help="voxels along each axis")
    side = parser.parse_args().side
    print(
        f"{'masks':<22}{'from':<12}{'share':>7}{'offsets s':>11}{'left':>8}"
        f"{'tree s':>9}{'transform s':>13}{'ratio':>8}{'differ':>9}",
        " chosen",
    )
    for name, truth, prediction in pairs(side):
        box = surface.bounding_box(truth | prediction, margin=1)
        first, second = surface.surface(truth[box]), surface.surface(prediction[box])
        for direction, start, goal in (("truth", first, second), ("prediction", second, first)):
            apart = start & ~goal
            share = np.count_nonzero(apart) / apart.size
            tree, by_tree = _timed("by_tree", apart, goal)
            transform, by_transform = _timed("by_transform", apart, goal)
            difference = np.abs(by_tree - by_transform).max(initial=0)
            begin = time.perf_counter()
            left = np.count_nonzero(surface.by_offsets(apart, goal, SPACING)[1]) / apart.size
            offsets = time.perf_counter() - begin
            chosen = "transform" if left > surface.DENSE_SHARE else "tree"
            numbers = f"{share:>7.1%}{offsets:>11.3f}{left:>8.2%}"
            numbers += f"{tree:>9.3f}{transform:>13.3f}{tree / transform:>8.2f}{difference:>9.0e}"
            print(f"{name:<22}{direction:<12}{numbers}  {chosen}")


if __name__ == "__main__":
    main()
