"""Reliability of predicted scores: do cases with a predicted Dice of 0.8 have a Dice of 0.8?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medseg.grid import Array

BINS = 10
"""Equal parts of 0 to 1 that predictions are sorted into."""


class Bin(NamedTuple):
    """Cases whose predicted score lies in one part of 0 to 1: their number, mean prediction, mean score."""

    cases: int
    predicted: float
    true: float


def bins(predicted: Sequence[float] | Array, true: Sequence[float] | Array, count: int = BINS) -> list[Bin]:
    """Sort pairs of predicted and true scores (N,), each 0 to 1, into bins; empty ones are left out."""
    predictions, scores = np.asarray(predicted, float), np.asarray(true, float)
    part = np.minimum((predictions * count).astype(int), count - 1)
    return [
        Bin(int(inside.sum()), float(predictions[inside].mean()), float(scores[inside].mean()))
        for number in range(count)
        if (inside := part == number).any()
    ]


def expected_calibration_error(
    predicted: Sequence[float] | Array, true: Sequence[float] | Array, count: int = BINS
) -> float:
    """Mean distance of a bin's mean prediction from its mean score, weighted by its cases; NaN of none."""
    parts = bins(predicted, true, count)
    total = sum(part.cases for part in parts)
    if not total:
        return float("nan")
    return sum(part.cases * abs(part.predicted - part.true) for part in parts) / total
