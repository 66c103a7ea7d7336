"""Fuzzy c-means on grey values (Bezdek, 1981): a baseline without any knowledge of shape.

It minimises Σ_ki u_ki^m (x_k − c_i)² over memberships u (Σ_i u_ki = 1) and centres c in turn:

    u_ki = 1 / Σ_j (|x_k − c_i| / |x_k − c_j|)^(2/(m−1)),    c_i = Σ_k u_ki^m x_k / Σ_k u_ki^m

Voxels of one value share a membership, so the sums run over distinct values and their counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medseg.classes import VOID
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.preprocess.intensity import Foreground, NormalizedVolume, foreground

LEVELS = 4096
"""The most distinct grey values; where there are more, they are rounded to this many levels."""


class Clustering(NamedTuple):
    """Class indices (X, Y, Z) uint8; first minus second membership (X, Y, Z) float16; its foreground mean."""

    labels: Array
    confidence: Array
    quality: float
    quality_kind: str = "membership"


def label(
    volume: NormalizedVolume,
    classes: Sequence[int] = (1, 2, 3),
    *,
    channel: int = 0,
    rule: Foreground = "auto",
    fuzziness: float = 2.0,
    iterations: int = 300,
) -> Clustering:
    """Cluster the foreground of one channel; everything else is class index 0 with confidence 1.

    ``classes`` are class indices from the darkest cluster to the brightest: on a T1, CSF, GM, WM.
    ``rule`` defines the foreground. The start is fixed (quantiles), and so is the result.
    Raises CONSTANT if the foreground has fewer distinct values than there are classes.
    """
    image = np.asarray(volume.array[channel])
    inside = foreground(image, rule)
    values, inverse, counts = _levels(image[inside])
    if len(values) < len(classes):
        raise MedsegError(
            Code.CONSTANT,
            "fuzzy c-means",
            f"{len(values)} distinct grey values for {len(classes)} classes",
            "use fewer classes or another foreground rule",
        )
    member = memberships(values, fit(values, counts, len(classes), fuzziness, iterations), fuzziness)
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[inside] = np.asarray(classes, dtype=np.uint8)[member.argmax(axis=1)][inverse]
    ranked = np.sort(member, axis=1)
    first_minus_second = ranked[:, -1] - (ranked[:, -2] if len(classes) > 1 else 0)
    confidence = np.ones(image.shape, dtype=np.float16)
    confidence[inside] = first_minus_second.astype(np.float16)[inverse]
    return Clustering(labels, confidence, float(np.average(first_minus_second, weights=counts)))


def class_greys(volume: NormalizedVolume, label: Array, classes: int) -> Array:
    """Mean normalized grey value of each class in channel 0: (classes,) float64, NaN for an absent class.

    ``label`` (X, Y, Z) uint8 holds class indices, 255 for void. Over training cases these means tell which
    cluster is which class.
    """
    counts, sums = np.zeros(VOID + 1), np.zeros(VOID + 1)
    for z in range(label.shape[2]):
        inside = label[:, :, z].ravel()
        counts += np.bincount(inside, minlength=VOID + 1)
        sums += np.bincount(inside, weights=volume.array[0, :, :, z].ravel(), minlength=VOID + 1)
    present = counts[:classes] > 0
    means = np.divide(sums[:classes], counts[:classes], out=np.full(classes, np.nan), where=present)
    return np.asarray((means - volume.normalization.mean[0]) / volume.normalization.std[0])


def fit(values: Array, counts: Array, clusters: int, fuzziness: float = 2.0, iterations: int = 300) -> Array:
    """Centres (clusters,) float64, ascending, of distinct ascending ``values`` (n,) with their ``counts``.

    Stops when no centre moves by more than 1e-6 of the values' range, or after ``iterations`` turns.
    """
    centres = _start(values, counts, clusters)
    tolerance = 1e-6 * (values[-1] - values[0])
    for _ in range(iterations):
        weights = counts[:, None] * memberships(values, centres, fuzziness) ** fuzziness
        moved = values @ weights / weights.sum(axis=0)
        change = np.abs(moved - centres).max()
        centres = moved
        if change <= tolerance:
            break
    return np.sort(centres)


def memberships(values: Array, centres: Array, fuzziness: float = 2.0) -> Array:
    """u (n, clusters) float64, rows summing to 1; a value on a centre belongs to it alone."""
    distance = np.abs(values[:, None] - centres)
    nearest = distance.min(axis=1, keepdims=True)
    # (nearest / distance)^p is at most 1 where distance^-p could overflow; 0/0 is a value on its centre.
    ratio = np.divide(nearest, distance, out=np.ones_like(distance), where=distance > 0)
    closeness = ratio ** (2 / (fuzziness - 1))
    return np.asarray(closeness / closeness.sum(axis=1, keepdims=True))


def _levels(voxels: Array) -> tuple[Array, Array, Array]:
    """Distinct values ascending float64, each voxel's index among them, and their counts."""
    values, inverse, counts = np.unique(voxels, return_inverse=True, return_counts=True)
    if len(values) <= LEVELS:
        return values.astype(np.float64), inverse, counts
    low, high = float(values[0]), float(values[-1])
    step = (high - low) / (LEVELS - 1)
    level, inverse, counts = np.unique(
        np.rint((voxels.astype(np.float64) - low) / step), return_inverse=True, return_counts=True
    )
    return low + step * level, inverse, counts


def _start(values: Array, counts: Array, clusters: int) -> Array:
    """The voxels' quantiles at (i + ½) / clusters; those of the distinct values if two of them coincide."""
    shares = (np.arange(clusters) + 0.5) / clusters
    start = values[np.searchsorted(np.cumsum(counts), shares * counts.sum())]
    if len(np.unique(start)) == clusters:
        return np.asarray(start)
    return np.asarray(np.quantile(values, shares))
