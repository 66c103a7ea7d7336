"""Class weights by median frequency (Eigen & Fergus 2015, as SegNet uses them)."""

from __future__ import annotations

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Array


def median_frequency(counts: Array, pixels: Array | None = None) -> Array:
    """Compute weights (K,) float64 from pixel counts (N, K) of N images or cases: w = median(freq) / freq.

    freq(c) = pixels of c / all pixels of the images that contain c. Void pixels are in no count of a class,
    but they are pixels of their image: ``pixels`` (N,) holds the images' sizes (default: the counts' sums).
    A class that is absent everywhere has weight 0 and no part in the median.

    :raises MedsegError: ``NOTHING_USABLE`` if no class is present.
    """
    counts = np.asarray(counts, dtype=np.float64)
    of_class = counts.sum(axis=0)
    present = of_class > 0
    if not present.any():
        raise MedsegError(
            Code.NOTHING_USABLE,
            "class weights",
            "no labelled pixel in the training cases",
            "label some cases",
        )
    size = counts.sum(axis=1) if pixels is None else np.asarray(pixels, dtype=np.float64)
    beside_class = (size[:, None] * (counts > 0)).sum(axis=0)
    frequency = of_class[present] / beside_class[present]
    weights = np.zeros(counts.shape[1])
    weights[present] = np.median(frequency) / frequency
    return weights
