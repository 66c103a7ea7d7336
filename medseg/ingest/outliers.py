"""Outliers among the figures of alike files, by median and median absolute deviation (MAD)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 5
"""Figures below which nothing is called an outlier."""

_DEVIATIONS = 5.0
_FOR_FEW = 10.0
_LEAST_RATIO = 1.5
_LEAST_SHARE = 0.25
_NORMAL = 1.4826
"""The factor from MAD to the standard deviation of a normal distribution."""


def outliers(figures: Sequence[float], scale: float = 0.0) -> list[int]:
    """Find the positions of figures far from the median of all, the farthest first.

    Positive figures are compared by their ratios, others by their differences. An outlier differs from the
    median by five standard deviations (estimated from the MAD), by more where there are few figures: 5 ×
    (1 + 10 / n); and by a factor of 1.5, or by a quarter of ``scale``, so that groups of nearly equal figures
    have none. In normal groups of any size this is wrong in one of a hundred groups.
    """
    values = np.asarray(figures, np.float64)
    if len(values) < FEWEST:
        return []
    least = _LEAST_SHARE * scale
    if (values > 0).all():
        values, least = np.log(values), np.log(_LEAST_RATIO)
    away = np.abs(values - np.median(values))
    spread = _NORMAL * np.median(away)
    limit = max(_DEVIATIONS * (1 + _FOR_FEW / len(values)) * spread, least)
    return [int(i) for i in np.argsort(-away, kind="stable") if away[i] > limit]
