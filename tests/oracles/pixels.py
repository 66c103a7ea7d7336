"""Resizing of an image, one new pixel at a time: the parts of old pixels under it, or the four around it."""

from __future__ import annotations

import math

import numpy as np

from medseg.grid import Array, Grid


def shares(axis: int, source: Grid, target: Grid) -> list[dict[int, float]]:
    """For each new pixel along an axis, old pixels and how much they count."""
    old, new = source.shape[axis], target.shape[axis]
    factor = target.spacing[axis] / source.spacing[axis]
    found = []
    for i in range(new):
        # The place of the new pixel's centre, both images having one centre; old pixel j is j - ½ to j + ½.
        centre = (i - (new - 1) / 2) * factor + (old - 1) / 2
        if factor > 1:
            ends = centre - factor / 2, centre + factor / 2
            under = {j: min(ends[1], j + 0.5) - max(ends[0], j - 0.5) for j in range(old)}
            under = {j: part for j, part in under.items() if part > 0}
            found.append({j: part / sum(under.values()) for j, part in under.items()})
        else:
            at = min(max(centre, 0.0), old - 1.0)
            low, high = math.floor(at), math.ceil(at)
            found.append({low: 1.0} if low == high else {low: high - at, high: at - low})
    return found


def resize(plane: Array, source: Grid, target: Grid) -> Array:
    """A slice (H, W) → (H', W') float64."""
    rows, columns = shares(0, source, target), shares(1, source, target)
    out = np.zeros(target.shape[:2])
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            out[i, j] = sum(a * b * float(plane[r, c]) for r, a in row.items() for c, b in column.items())
    return out
