"""Surface distances by definition: every voxel, every neighbour, every pair."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np


def surface_voxels(mask: Any) -> list[tuple[int, ...]]:
    """Voxels with a face neighbour outside the mask; beyond the border is outside, flat axes have none."""
    axes = [axis for axis in range(mask.ndim) if mask.shape[axis] > 1]
    return [
        voxel
        for voxel in product(*(range(n) for n in mask.shape))
        if mask[voxel] and any(_outside(mask, voxel, axis, step) for axis in axes for step in (-1, 1))
    ]


def _outside(mask: Any, voxel: tuple[int, ...], axis: int, step: int) -> bool:
    neighbour = list(voxel)
    neighbour[axis] += step
    return not 0 <= neighbour[axis] < mask.shape[axis] or not mask[tuple(neighbour)]


def directed(start: Any, goal: Any, spacing: tuple[float, ...]) -> list[float]:
    """Each surface voxel's distance to the nearest surface voxel of the other mask, in C order."""
    goals = surface_voxels(goal)
    return [
        min(math.sqrt(sum(((i - j) * s) ** 2 for i, j, s in zip(a, b, spacing, strict=True))) for b in goals)
        for a in surface_voxels(start)
    ]


def percentile95(values: list[float]) -> float:
    """The 95th percentile, linear between ranks."""
    ordered = sorted(values)
    rank = 0.95 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def metrics(truth: Any, prediction: Any, spacing: tuple[float, ...], tolerance: float) -> dict[str, float]:
    """HD95, ASSD and NSD of two masks that are not empty."""
    there, back = directed(truth, prediction, spacing), directed(prediction, truth, spacing)
    both = there + back
    return {
        "hd95": max(percentile95(there), percentile95(back)),
        "assd": float(np.mean(both)),
        "nsd": sum(d <= tolerance for d in both) / len(both),
    }
