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
    return _term(label == 0, cells((label != 0) & (label != 255)), w0, sigma_px)


def weights_of(numbers: Any, w0: float, sigma_px: float) -> Any:
    """The exponential term of a slice (H, W) whose cells have numbers, wherever they touch."""
    each = [[(int(i), int(j)) for i, j in np.argwhere(numbers == n)] for n in np.unique(numbers) if n]
    return _term(numbers == 0, each, w0, sigma_px)


def _term(background: Any, each: list[list[tuple[int, int]]], w0: float, sigma_px: float) -> Any:
    out = np.zeros(background.shape)
    if len(each) < 2:
        return out
    for i, j in np.argwhere(background):
        near = sorted(min(math.hypot(i - a, j - b) for a, b in cell) for cell in each)
        out[i, j] = w0 * math.exp(-((near[0] + near[1]) ** 2) / (2 * sigma_px**2))
    return out
