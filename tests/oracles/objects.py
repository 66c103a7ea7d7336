"""Scores of objects and borders between them, object by object and pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np


def sets(numbers: Any) -> list[set[int]]:
    """The pixels of each object in order of the numbers."""
    flat = numbers.ravel()
    return [set(np.flatnonzero(flat == n).tolist()) for n in sorted(set(flat.tolist()) - {0})]


def scores(truth: Any, guess: Any) -> dict[str, float]:
    """Counts, sum of the pairs' IoU, and both sums of the AJI by its published algorithm."""
    ours, theirs = sets(truth), sets(guess)
    pairs, iou = 0, 0.0
    for a in ours:
        for b in theirs:
            share = len(a & b) / len(a | b)
            if share > 0.5:
                pairs, iou = pairs + 1, iou + share
    intersection = union = 0
    used = set()
    for a in ours:
        shares = [len(a & b) / len(a | b) for b in theirs]
        best = max(range(len(theirs)), key=lambda j: (shares[j], -j), default=None)
        if best is None or shares[best] == 0:
            union += len(a)
            continue
        used.add(best)
        intersection += len(a & theirs[best])
        union += len(a | theirs[best])
    union += sum(len(b) for j, b in enumerate(theirs) if j not in used)
    counts = {"reference": len(ours), "predicted": len(theirs), "pairs": pairs}
    return {**counts, "iou": iou, "intersection": intersection, "union": union}


def touching(numbers: Any) -> Any:
    """True at pixels (H, W) of an object beside another, corners included."""
    out = np.zeros(numbers.shape, bool)
    rows, columns = numbers.shape
    for i in range(rows):
        for j in range(columns):
            around = numbers[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            out[i, j] = numbers[i, j] != 0 and any(n not in (0, numbers[i, j]) for n in around.ravel())
    return out
