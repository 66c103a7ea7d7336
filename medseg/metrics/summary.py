"""Summary of the score table: per class, mean over classes, over the set, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from medseg.classes import OUTSIDE
from medseg.grid import Array
from medseg.metrics import confusion_matrix
from medseg.metrics.table import MISSING, PENALISED, ScoreRow, metrics_of

FEWEST_SUBJECTS = 5
"""With fewer subjects no interval is given."""

_LEVELS = (2.5, 97.5)
_BLOCK = 1 << 22
_LARGE_IS_BAD = {*PENALISED, *PENALISED.values()}

Scored = tuple[str, str, float | None]
"""Case, subject, value."""


def summarise(
    rows: Sequence[ScoreRow],
    matrices: Mapping[str, Array],
    *,
    seed: int = 0,
    draws: int = 10_000,
    costs: tuple[float, float] = (1.0, 1.0),
    background: bool = True,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The content of ``summary.json``.

    ``matrices`` holds the confusion matrix (K, K) of each set (the rows' role); ``costs`` are c₀ of false
    positives and c₁ of false negatives; class 0 is the ``background``, or foreground like the others;
    ``names`` are the matrices' classes (K,), by default their indices. Each set has ``classes`` (name →
    metric → statistics), ``over_classes`` (the same for each case's mean over its foreground classes),
    ``by_class`` (name → the numbers :data:`confusion_matrix.BY_CLASS` of all voxels of the set) and
    ``over_set``: the numbers of the matrix, ``iou_by_class``, and for images ``BF``, the mean over images of
    each one's mean over classes. Statistics are mean, median, sd, ci95 (bootstrap over subjects, ``draws``
    draws), n, n_undefined and the worst case. ``hd95`` and ``assd`` leave out cases in which truth or
    prediction lacks the class; ``hd95_penalised`` and ``assd_penalised`` count them as the image's diagonal.

    Overlapping masks have a stack (L, 2, 2) of matrices, outside and inside each; the numbers of each stand
    under ``over_masks``, and ``over_set`` has the masks' IoU and BF alone.
    """
    sets = {}
    for role in sorted({row.role for row in rows}):
        of_set = _summarise_set([row for row in rows if row.role == role], seed, draws)
        if role in matrices and matrices[role].ndim == 3:
            _add_masks(of_set, matrices[role], costs)
        elif role in matrices:
            of_matrix = confusion_matrix.over_set(matrices[role], *costs, background=background)
            of_set["over_set"] |= {**_plain(of_matrix), "iou_by_class": _iou_by_class(matrices[role], names)}
            of_set["by_class"] = _by_class(matrices[role], names)
        sets[role] = of_set
    return {
        "bootstrap": {"unit": "subject", "draws": draws, "seed": seed, "fewest_subjects": FEWEST_SUBJECTS},
        "costs": {"false_positive": costs[0], "false_negative": costs[1]},
        "sets": sets,
    }


def only_class(of_set: Mapping[str, Any]) -> tuple[str, float | None] | None:
    """Name and IoU over the set of a set's only class beside the background; None for sets of more.

    Mean IoU includes the background, which hides the quality of such a class.
    """
    by_class = of_set.get("over_set", {}).get("iou_by_class", {})
    names = [name for name in by_class if name in of_set["classes"]]
    return (names[0], by_class[names[0]]) if len(names) == 1 and len(by_class) == 2 else None


def _add_masks(of_set: dict[str, Any], stack: Array, costs: tuple[float, float]) -> None:
    """Add each mask's IoU and numbers from matrices (L, 2, 2) in the order of the set's classes."""
    by_mask = dict(zip(of_set["classes"], stack, strict=True))
    inside = {name: float(confusion_matrix.iou(matrix)[1]) for name, matrix in by_mask.items()}
    of_set["over_set"] |= {"iou_by_class": _plain(inside)}
    of_set["by_class"] = {name: _by_class(matrix, (OUTSIDE, name))[name] for name, matrix in by_mask.items()}
    of_set["over_masks"] = {
        name: _plain(confusion_matrix.over_set(matrix, *costs)) for name, matrix in by_mask.items()
    }


def _by_class(matrix: Array, names: Sequence[str] | None) -> dict[str, dict[str, float | None]]:
    """Class name → its numbers over the set."""
    keys = names if names is not None else [str(index) for index in range(len(matrix))]
    numbers = {key: of_class(matrix) for key, of_class in confusion_matrix.BY_CLASS.items()}
    return {
        name: _plain({key: float(values[index]) for key, values in numbers.items()})
        for index, name in enumerate(keys)
    }


def _iou_by_class(matrix: Array, names: Sequence[str] | None) -> dict[str, float | None]:
    """Class name → IoU over the set."""
    keys = names if names is not None else [str(index) for index in range(len(matrix))]
    return _plain(dict(zip(keys, confusion_matrix.iou(matrix).tolist(), strict=True)))


def _summarise_set(rows: Sequence[ScoreRow], seed: int, draws: int) -> dict[str, Any]:
    names = dict.fromkeys(row.class_name for row in rows)  # in order of first appearance
    by_case = _by_case(rows)
    metrics = metrics_of(rows[0].length_unit)
    over_classes = {
        metric: statistics(metric, [_mean_over_classes(case, metric) for case in by_case], seed, draws)
        for metric in metrics
    }
    return {
        "cases": len(by_case),
        "subjects": len({row.subject for row in rows}),
        "missing": sorted({row.case for row in rows if row.note == MISSING}),
        "length_unit": rows[0].length_unit,
        "size_unit": rows[0].size_unit,
        "classes": {
            name: {
                metric: statistics(
                    metric,
                    [(r.case, r.subject, getattr(r, metric)) for r in rows if r.class_name == name],
                    seed,
                    draws,
                )
                for metric in metrics
            }
            for name in names
        },
        "over_classes": over_classes,
        "over_set": {"BF": over_classes["bf"]["mean"]} if "bf" in metrics else {},
    }


def _by_case(rows: Sequence[ScoreRow]) -> list[list[ScoreRow]]:
    """Rows of each (fold, case), in that order."""
    ordered = sorted(rows, key=lambda row: (row.fold, row.case))
    return [list(group) for _, group in groupby(ordered, key=lambda row: (row.fold, row.case))]


def _mean_over_classes(case: Sequence[ScoreRow], metric: str) -> Scored:
    """A case's mean over the classes for which the metric is defined."""
    defined = [value for row in case if (value := getattr(row, metric)) is not None]
    return case[0].case, case[0].subject, float(np.mean(defined)) if defined else None


def statistics(metric: str, scored: Sequence[Scored], seed: int = 0, draws: int = 10_000) -> dict[str, Any]:
    """Statistics of one metric over the cases for which it is defined, with both counts beside them."""
    defined = [(case, subject, value) for case, subject, value in scored if value is not None]
    counts = {"n": len(defined), "n_undefined": len(scored) - len(defined)}
    if not defined:
        return {**dict.fromkeys(("mean", "median", "sd", "ci95")), **counts, "worst": None}
    values = np.array([value for _, _, value in defined])
    ci95 = interval(values, [subject for _, subject, _ in defined], seed=seed, draws=draws)
    case, _, value = min(defined, key=lambda row: _goodness(metric, row[2]))
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "ci95": None if ci95 is None else list(ci95),
        **counts,
        "worst": {"case": case, "value": value},
    }


def _goodness(metric: str, value: float) -> float:
    """A number that rises as the value gets better."""
    if metric == "size_error_percent":
        return -abs(value)
    return -value if metric in _LARGE_IS_BAD else value


def interval(
    values: Array, subjects: Sequence[str], *, seed: int = 0, draws: int = 10_000
) -> tuple[float, float] | None:
    """Percentile bootstrap 95 % interval of the mean, drawing whole subjects with replacement.

    ``values`` (N,) float64 belong to ``subjects``, whose values stay together. None below five subjects.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    if len(names) < FEWEST_SUBJECTS:
        return None
    sums = np.bincount(index, weights=values)
    counts = np.bincount(index)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(names))
    means = []
    for start in range(0, draws, block):
        drawn = generator.integers(len(names), size=(min(block, draws - start), len(names)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), _LEVELS)
    return float(low), float(high)


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
