"""Boundary F1 (BF, after Csurka et al. 2013) of the classes of one image, as SegNet's tables report it.

A class's boundary is the pixels of its mask with a 4-neighbour outside the mask; the image's border is none.
Void (255) is outside of every mask, so the edge between a class and void is a boundary of that class.
A boundary pixel is matched if the other label map's boundary of that class has a pixel within the tolerance
(Euclidean). Recall is the matched share of the truth's boundary; a predicted pixel that lies on void matches
too. Precision is the matched share of the predicted boundary that does not lie on void of the truth, where
the right class is unknown; it is 1 where all of the boundary lies on void. BF is their harmonic mean, 0 for a
prediction without a boundary. Only classes with a boundary in the truth have a score: not one that is
predicted only, nor one that fills its image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree
from skimage.segmentation import find_boundaries

from medseg.classes import VOID
from medseg.grid import Array

SHARE = 0.0075
"""The usual tolerance as a share of the image's diagonal: 4.5 px for 480×360."""

_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class BoundaryScore:
    """Boundary precision and recall of one class of one image; no precision without a predicted boundary."""

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
    guess = np.full_like(truth, VOID) if prediction is None else prediction
    of_truth, of_guess = _points(truth, boundary(truth)), _points(guess, boundary(guess))
    outside_void = _points(guess, boundary(guess) & (truth != VOID))
    matched_truth, in_truth = _matches(of_truth, of_guess, tolerance)
    matched_guess, in_guess = _matches(outside_void, of_truth, tolerance)
    predicted = np.bincount(of_guess[1], minlength=256)
    return {
        int(index): BoundaryScore(
            precision=_share(matched_guess[index], in_guess[index]) if predicted[index] else None,
            recall=_share(matched_truth[index], in_truth[index]),
        )
        for index in np.flatnonzero(in_truth)
    }


def _share(hits: int, of: int) -> float:
    """The quotient, and 1 where there is nothing that could be wrong."""
    return float(hits / of) if of else 1.0


def boundary(labels: Array) -> Array:
    """Pixels of a class with a 4-neighbour of another or of void, bool, of ``labels`` (X, Y)."""
    edges: Array = find_boundaries(labels, connectivity=1, mode="thick") & (labels != VOID)
    return edges


_Points = tuple[Array, Array]
"""Positions (N, 2) int64 of boundary pixels and their class indices (N,) uint8."""


def _points(labels: Array, edges: Array) -> _Points:
    """The pixels of ``labels`` (X, Y) that ``edges`` (X, Y) bool marks."""
    return np.argwhere(edges), labels[edges]


def _matches(start: _Points, goal: _Points, tolerance: float) -> tuple[Array, Array]:
    """Count the points of ``start`` with a point of ``goal`` of their class in reach, and all of ``start``.

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
