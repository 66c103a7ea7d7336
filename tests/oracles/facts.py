"""Facts of an array, by whole-array numpy and a loop over its voxels."""

from __future__ import annotations

from collections import Counter
from typing import Any


def facts(array: Any) -> tuple[float, float, float, float, float, dict[int, int]]:
    """Low, high, 1st, 50th and 99th percentile (nearest rank) of the foreground, and value → voxels."""
    values = sorted(int(value) for value in array.ravel())
    low, high = values[0], values[-1]
    inside = values
    if low < high and values.count(low) >= 0.2 * len(values):
        inside = [value for value in values if value > low]
    dark, median, bright = (inside[int(share * len(inside))] for share in (0.01, 0.5, 0.99))
    return low, high, dark, median, bright, dict(Counter(values))
