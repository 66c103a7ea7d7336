"""Boundary F1 by definition: every pixel, every neighbour, every pair."""

from __future__ import annotations

import math
from typing import Any

VOID = 255
Pixel = tuple[int, int]


def boundary(labels: Any, index: int) -> list[Pixel]:
    """Pixels of a class with a 4-neighbour outside of it; what lies beyond the border is no neighbour."""
    width, height = labels.shape
    found = []
    for x in range(width):
        for y in range(height):
            around = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
            inside = [labels[i, j] for i, j in around if 0 <= i < width and 0 <= j < height]
            if labels[x, y] == index and any(value != index for value in inside):
                found.append((x, y))
    return found


def share(start: list[Pixel], goal: list[Pixel], tolerance: float) -> float | None:
    """The share of ``start`` with a pixel of ``goal`` within the tolerance; None where there is no start."""
    hits = sum(any(math.dist(a, b) <= tolerance for b in goal) for a in start)
    return hits / len(start) if start else None


def score(truth: Any, prediction: Any, index: int, tolerance: float) -> tuple[Any, Any, float] | None:
    """Precision, recall and F1 of one class; None where the truth has no boundary of it."""
    wanted, predicted = boundary(truth, index), boundary(prediction, index)
    if not wanted:
        return None
    counted = [pixel for pixel in predicted if truth[pixel] != VOID]
    precision, recall = share(counted, wanted, tolerance), share(wanted, predicted, tolerance)
    if predicted and not counted:
        precision = 1.0
    if not precision or not recall:
        return precision, recall, 0.0
    return precision, recall, 2 * precision * recall / (precision + recall)
