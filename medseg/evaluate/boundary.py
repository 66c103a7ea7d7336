"""Boundary F1 (BF, after Csurka et al. 2013) of the classes of one image, as SegNet's tables report it.

A class's boundary is the pixels of its mask with a 4-neighbour outside the mask; the image's border is none.
A boundary pixel is matched if the other label map's boundary of that class has a pixel within the tolerance
(Euclidean). Precision is the matched share of the prediction's boundary, recall that of the truth's, BF their
harmonic mean, 0 for a prediction without a boundary. Only classes with a boundary in the truth have a score:
not one that is predicted only, nor one that fills its image.

Void (255) in the truth is left out: whatever is predicted there is no boundary, and the edge between a class
and void is none either, in the truth or in the prediction, for nobody says what lies beyond. Where a data set
rings every object with void, only edges between classes that touch remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from medseg.volume import VOID, Array

SHARE = 0.0075
"""The usual tolerance as a share of the image's diagonal: 4.5 px for 480×360."""

_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class BoundaryScore:
    """Of one class of one image: ``precision`` is None for a prediction without a boundary."""

    precision: float | None
    recall: float

    @property
    def f1(self) -> float:
        """BF: the harmonic mean of precision and recall."""
        if self.precision is None or self.precision + self.recall == 0:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def tolerance_px(shape: tuple[int, int], share: float = SHARE) -> float:
    """θ in px: ``share`` of the diagonal of an image of ``shape`` (X, Y) px."""
    return share * float(np.hypot(*shape))


def scores(truth: Array, prediction: Array | None, tolerance: float) -> dict[int, BoundaryScore]:
    """Class index → score, for every class with a boundary in the truth.

    ``truth`` and ``prediction`` are class indices (X, Y) uint8, ``tolerance`` is in px. Without a prediction
    (None) every score is 0.
    """
    guess = np.full_like(truth, VOID) if prediction is None else np.where(truth == VOID, VOID, prediction)
    of_truth, of_guess = _boundary(truth), _boundary(guess)
    found, wanted = _matches(of_truth, of_guess, tolerance)
    right, predicted = _matches(of_guess, of_truth, tolerance)
    return {
        int(index): BoundaryScore(
            precision=float(right[index] / predicted[index]) if predicted[index] else None,
            recall=float(found[index] / wanted[index]),
        )
        for index in np.flatnonzero(wanted)
    }


def boundary(labels: Array) -> Array:
    """Pixels with a 4-neighbour of another class, bool, of ``labels`` (X, Y); none at the edge of void."""
    out = np.zeros(labels.shape, dtype=bool)
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = labels[one], labels[other]
        edge = (a != b) & (a != VOID) & (b != VOID)
        out[one] |= edge
        out[other] |= edge
    return out


_Points = tuple[Array, Array]
"""Positions (N, 2) int64 of boundary pixels and their class indices (N,) uint8."""


def _boundary(labels: Array) -> _Points:
    held = boundary(labels)
    return np.argwhere(held), labels[held]


def _matches(start: _Points, goal: _Points, tolerance: float) -> tuple[Array, Array]:
    """How many of ``start`` have a pixel of ``goal`` of their class in reach, and how many there are.

    Both are counts by class index, (256,) int64.
    """
    reach = tolerance * _ROUNDING
    near = np.zeros(len(start[1]), dtype=bool)
    if len(goal[1]):
        # The class as a third coordinate, further apart than the reach: one tree serves all classes.
        tree = KDTree(_apart(goal, reach + 1), balanced_tree=False, compact_nodes=False)
        distance, _ = tree.query(_apart(start, reach + 1), distance_upper_bound=reach + 0.5)
        near = distance <= reach
    return np.bincount(start[1][near], minlength=256), np.bincount(start[1], minlength=256)


def _apart(points: _Points, step: float) -> Array:
    return np.column_stack([points[0], points[1] * step])
