"""U-Net's weight map pixel by pixel: cells by flood fill, distances to every pixel of every cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def cells(foreground: Any) -> list[list[tuple[int, int]]]:
    """The pixels of each component of (H, W); neighbours share a side."""
    left = {(int(i), int(j)) for i, j in np.argwhere(foreground)}
    found = []
    while left:
        grown, edge = [], [left.pop()]
        while edge:
            i, j = edge.pop()
            grown.append((i, j))
            for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
        found.append(grown)
    return found


def weights(label: Any, w0: float, sigma_px: float) -> Any:
    """The exponential term of a slice (H, W)."""
    out = np.zeros(label.shape)
    found = cells((label != 0) & (label != 255))
    if len(found) < 2:
        return out
    for i, j in np.argwhere(label == 0):
        near = sorted(min(math.hypot(i - a, j - b) for a, b in cell) for cell in found)
        out[i, j] = w0 * math.exp(-((near[0] + near[1]) ** 2) / (2 * sigma_px**2))
    return out
