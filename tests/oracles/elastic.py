"""Elastic deformation of a slice, one pixel at a time in plain Python and float64."""

from __future__ import annotations

import math
from typing import Any


def cubic(d: float) -> float:
    """Keys' kernel with a = -0.75."""
    d, a = abs(d), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def displacement(nodes: Any, at: tuple[float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """At a place (row, column) of a slice: 4×4 taps on nodes (2, 3, 3), outer nodes repeated."""
    s, t = (min(max(p, 0.0), n - 1.0) / max(n - 1, 1) * 2 for p, n in zip(at, shape, strict=True))
    found = [0.0, 0.0]
    for i in range(math.floor(s) - 1, math.floor(s) + 3):
        for j in range(math.floor(t) - 1, math.floor(t) + 3):
            weight = cubic(s - i) * cubic(t - j)
            for axis in (0, 1):
                found[axis] += weight * float(nodes[axis][min(max(i, 0), 2)][min(max(j, 0), 2)])
    return found[0], found[1]


def mirrored(index: int, size: int) -> int:
    """The pixel read at ``index`` of an axis that is mirrored to and fro, its edge pixels not repeated."""
    while not 0 <= index < size:
        index = 0 if size == 1 else -index if index < 0 else 2 * (size - 1) - index
    return index


def bilinear(image: Any, at: tuple[float, float]) -> float:
    """The mirrored image (H, W) at a place."""
    (r, c), (h, w) = at, image.shape
    total = 0.0
    for i, wi in ((math.floor(r), 1 - r % 1), (math.floor(r) + 1, r % 1)):
        for j, wj in ((math.floor(c), 1 - c % 1), (math.floor(c) + 1, c % 1)):
            total += wi * wj * float(image[mirrored(i, h), mirrored(j, w)])
    return total


def nearest(label: Any, at: tuple[float, float]) -> int:
    """The mirrored label map's nearest pixel."""
    (r, c), (h, w) = at, label.shape
    return int(label[mirrored(round(r), h), mirrored(round(c), w)])
