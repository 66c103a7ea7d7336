"""Scores of objects that are told apart: F1 at IoU > 0.5, panoptic quality, aggregated Jaccard index.

A reference object and a predicted one are a pair if their IoU exceeds 0.5; then neither has another partner
(Kirillov et al. 2019, "Panoptic Segmentation", section 4.1). TP are pairs, FP predicted objects without a
partner, FN reference objects without one.

- F1 = 2 TP / (2 TP + FP + FN), called recognition quality (RQ) there; SQ is the mean IoU of the pairs, PQ =
  SQ · RQ. Over a set, counts and IoU are added up before they are divided.
- AJI (Kumar et al. 2017, "A Dataset and a Technique for Generalized Nuclear Segmentation for Computational
  Pathology", algorithm 1): each reference object takes the predicted one of the largest IoU, whatever that
  is, the first of several equal ones. AJI = Σ intersections / (Σ unions + pixels of predicted objects that
  none took); a reference object that meets none adds its own pixels to the unions. Over a set it is the mean
  over images.

Without any object in both an image has no scores; with objects in one of them alone they are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from medseg.files import write_csv
from medseg.grid import Array
from medseg.metrics import summary
from medseg.metrics.table import Entry

LEAST_IOU = 0.5
"""A pair's IoU exceeds this."""


@dataclass(frozen=True)
class ObjectCounts:
    """Objects of an image, or of a set: what all scores are made of.

    ``iou`` is the sum over pairs; ``intersection`` and ``union`` (pixels) are those of the AJI.
    """

    reference: int
    predicted: int
    pairs: int
    iou: float
    intersection: int
    union: int

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        sums = (getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        return ObjectCounts(*sums)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        return _share(2 * self.pairs, self.reference + self.predicted)

    @property
    def sq(self) -> float | None:
        """Mean IoU of the pairs; None without any."""
        return _share(self.iou, self.pairs)

    @property
    def pq(self) -> float | None:
        """Panoptic quality."""
        return _share(2 * self.iou, self.reference + self.predicted)

    @property
    def aji(self) -> float | None:
        """Aggregated Jaccard index."""
        return _share(self.intersection, self.union)


@dataclass(frozen=True)
class ObjectRow:
    """The objects of one case."""

    entry: Entry
    counts: ObjectCounts


METRICS = ("f1", "pq", "sq", "aji")
COLUMNS = ("fold", "case", "subject", "set", "objects", "predicted", "pairs", *METRICS)
"""Header of ``objects.csv``."""


def count(truth: Array, prediction: Array | None) -> ObjectCounts:
    """Compare two maps of numbers of one shape, 0 for no object; without a prediction there is no object."""
    first = truth.ravel()
    second = np.zeros_like(first) if prediction is None else prediction.ravel()
    of_truth, truth_sizes = np.unique(first[first > 0], return_counts=True)
    of_guess, guess_sizes = np.unique(second[second > 0], return_counts=True)
    both = (first > 0) & (second > 0)
    rows, columns = np.searchsorted(of_truth, first[both]), np.searchsorted(of_guess, second[both])
    codes, common = np.unique(rows * len(of_guess) + columns, return_counts=True)
    rows, columns = np.divmod(codes, max(1, len(of_guess)))
    union = truth_sizes[rows] + guess_sizes[columns] - common
    iou = common / union
    is_pair = 2 * common > union

    # Each reference object's predicted one of the largest IoU; of equal ones the first, as rows are sorted
    order = np.lexsort((columns, -iou, rows))
    met, first_place = np.unique(rows[order], return_index=True)
    best = order[first_place]
    alone = np.setdiff1d(np.arange(len(of_truth)), met)
    left = np.setdiff1d(np.arange(len(of_guess)), columns[best])
    total = int(union[best].sum() + truth_sizes[alone].sum() + guess_sizes[left].sum())
    pairs, sum_of_iou = int(is_pair.sum()), float(iou[is_pair].sum())
    return ObjectCounts(len(of_truth), len(of_guess), pairs, sum_of_iou, int(common[best].sum()), total)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def write(path: Path, rows: Sequence[ObjectRow]) -> None:
    """Write ``objects.csv``: a row for each case; undefined scores are empty cells."""
    write_csv(path, COLUMNS, (_cells(row) for row in rows))


def _cells(row: ObjectRow) -> dict[str, Any]:
    counts, entry = row.counts, asdict(row.entry)
    numbers = {"objects": counts.reference, "predicted": counts.predicted, "pairs": counts.pairs}
    return {"set": entry.pop("role"), **entry, **numbers, **{name: getattr(counts, name) for name in METRICS}}


def summarise(rows: Sequence[ObjectRow]) -> dict[str, Any]:
    """The objects of one set: their counts, F1, PQ and SQ over all of them, and the statistics over images.

    ``over_images`` has those of each score, as :func:`medseg.metrics.summary.statistics` gives them.
    """
    total = sum((row.counts for row in rows), ObjectCounts(0, 0, 0, 0.0, 0, 0))
    over_images = {
        name: summary.statistics(
            name, [(r.entry.case, r.entry.subject, getattr(r.counts, name)) for r in rows]
        )
        for name in METRICS
    }
    return {
        "objects": total.reference,
        "predicted": total.predicted,
        "pairs": total.pairs,
        **{name: getattr(total, name) for name in ("f1", "pq", "sq")},
        "aji": over_images["aji"]["mean"],
        "over_images": over_images,
    }
