"""A mirrored canvas walked pixel by pixel, and the Gaussian blend as loops over pixels and windows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def bounced(position: int, size: int) -> int:
    """The pixel that a position outside an axis shows: walk back at each end, the edge pixel not twice."""
    while size > 1 and not 0 <= position < size:
        position = -position if position < 0 else 2 * (size - 1) - position
    return position if size > 1 else 0


def canvas(slab: npt.NDArray[np.float32], border: int, sides: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A slab (C, H, W) on a canvas of ``sides``, its first pixel at (border, border)."""
    rows = [bounced(i - border, slab.shape[1]) for i in range(sides[0])]
    columns = [bounced(j - border, slab.shape[2]) for j in range(sides[1])]
    return slab[:, rows][:, :, columns]


def blend(
    shape: tuple[int, int], windows: list[tuple[tuple[int, int], npt.NDArray[np.float64]]]
) -> npt.NDArray[np.float64]:
    """Mean probabilities (K, H, W) of windows, each (row, column) and probabilities (K, h, w)."""
    classes, height, width = windows[0][1].shape
    mean = np.zeros((classes, *shape))
    for row in range(shape[0]):
        for column in range(shape[1]):
            total = 0.0
            for (top, left), patch in windows:
                y, x = row - top, column - left
                if 0 <= y < height and 0 <= x < width:
                    a, b = (y - (height - 1) / 2) / (height / 8), (x - (width - 1) / 2) / (width / 8)
                    weight = math.exp(-(a * a + b * b) / 2)
                    mean[:, row, column] += weight * patch[:, y, x]
                    total += weight
            mean[:, row, column] /= total
    return mean
