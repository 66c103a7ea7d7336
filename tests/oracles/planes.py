"""Joining planes on whole volumes, voxel by voxel, in double precision and fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


def mean(probabilities: list[npt.NDArray[np.float64]]) -> tuple[Labels, npt.NDArray[np.float64]]:
    """Labels and margins (X, Y, Z) of the mean of (K, X, Y, Z) a plane."""
    combine_planes = sum(probabilities) / len(probabilities)
    labels, confidences = (np.zeros(combine_planes.shape[1:], kind) for kind in (np.int64, np.float64))
    for voxel in product(*map(range, labels.shape)):
        shares = [float(combine_planes[(k, *voxel)]) for k in range(len(combine_planes))]
        labels[voxel] = shares.index(max(shares))
        second = sorted(shares)[-2]
        confidences[voxel] = max(shares) - second
    return labels, confidences


def vote(maps: list[Labels], classes: int) -> tuple[Labels, npt.NDArray[np.float64]]:
    """Labels and margins (X, Y, Z) of the majority of a label map (X, Y, Z) a plane."""
    labels, confidences = (np.zeros(maps[0].shape, kind) for kind in (np.int64, np.float64))
    for voxel in product(*map(range, labels.shape)):
        votes = [sum(int(one[voxel]) == k for one in maps) for k in range(classes)]
        labels[voxel] = votes.index(max(votes))
        confidences[voxel] = float(Fraction(max(votes) - sorted(votes)[-2], len(maps)))
    return labels, confidences
