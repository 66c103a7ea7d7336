"""The confusion matrix and what follows from it, per class and over a set.

A matrix is (K, K) int64, rows = truth, columns = prediction, void left out. Matrices of cases add up to the
matrix of their set, so every number over a set is exact after one pass. Undefined numbers are NaN.
"""

from __future__ import annotations

import numpy as np

from medseg.classes import VOID, ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array

_CHUNK = 1 << 20


def confusion(
    truth: Array,
    prediction: Array | None,
    classes: int,
    *,
    where: str = "prediction",
    background: bool = True,
) -> Array:
    """Count voxels by class of the truth and of the prediction.

    ``truth`` and ``prediction`` hold class indices in any one shape; void (255) in the truth is left out.
    Where the prediction is void, or there is no prediction (None), nothing is predicted: this counts as
    background, and without a ``background`` as the class after the true one, so that the voxels stay in the
    set and none is right by chance.
    Returns (K, K) int64, rows = truth. Raises GRID_MISMATCH for shapes that differ and LABEL_VALUE_UNKNOWN
    for indices outside the class list; ``where`` names the case in the message.
    """
    predicted = np.full_like(truth, VOID) if prediction is None else prediction
    if truth.shape != predicted.shape:
        raise MedsegError(
            Code.GRID_MISMATCH,
            where,
            f"prediction of shape {predicted.shape} for a truth of shape {truth.shape}",
            "predict on the scan's own grid",
        )
    counts = _joint_histogram(_as_bytes(truth, where).ravel(), _as_bytes(predicted, where).ravel())
    counts[VOID] = 0
    rows = np.arange(classes)
    counts[rows, 0 if background else (rows + 1) % classes] += counts[rows, VOID]
    counts[rows, VOID] = 0
    matrix = counts[:classes, :classes].copy()
    if matrix.sum() != counts.sum():
        unknown = sorted({int(v) for v in (*np.concatenate(np.nonzero(counts)),) if v >= classes})
        raise MedsegError(
            Code.LABEL_VALUE_UNKNOWN,
            where,
            f"class index {unknown} of {classes} classes",
            "correct the labels",
        )
    return matrix


def confusion_of(
    truth: Array, prediction: Array | None, classes: ClassList, *, where: str = "prediction"
) -> Array:
    """The matrix of a class list: (K, K), or a stack (L, 2, 2) of the outside and inside of each mask."""
    if not classes.multilabel:
        return confusion(truth, prediction, len(classes), where=where, background=classes.background)
    joint = confusion(truth, prediction, 2 ** len(classes), where=where)
    inside = np.arange(len(joint)) >> np.arange(len(classes))[:, None] & 1  # (L, 2^L): is the bit set?
    sides = np.stack([1 - inside, inside], axis=1)
    stack: Array = sides @ joint @ sides.transpose(0, 2, 1)
    return stack


def foreground_dice(matrix: Array, classes: ClassList) -> Array:
    """Dice of each class that is scored, or of each mask, (N,) float64, from :func:`confusion_of`."""
    if not classes.multilabel:
        return dice(matrix)[classes.foreground]
    return np.array([dice(alone)[1] for alone in matrix])


def _as_bytes(labels: Array, where: str) -> Array:
    """Class indices as uint8; anything that does not fit is refused."""
    if labels.dtype == np.uint8:
        return labels
    bytes_ = labels.astype(np.uint8)
    if not np.array_equal(bytes_, labels):
        raise MedsegError(
            Code.LABEL_VALUE_UNKNOWN, where, "class indices outside 0 to 255", "map values to indices first"
        )
    return bytes_


def _joint_histogram(truth: Array, prediction: Array) -> Array:
    """Count each pair of bytes, (256, 256) int64, in chunks that bound the memory."""
    counts = np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, truth.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pairs = (truth[chunk].astype(np.uint16) << 8) | prediction[chunk]
        counts += np.bincount(pairs, minlength=1 << 16)
    return counts.reshape(256, 256)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient as float64, NaN where the denominator is zero."""
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def _mean(values: Array) -> float:
    """Mean of the defined values, NaN when there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def true_positives(matrix: Array) -> Array:
    """TP per class, (K,) int64."""
    out: Array = np.diagonal(matrix).copy()
    return out


def false_positives(matrix: Array) -> Array:
    """FP per class, (K,) int64: predicted as the class, another in the truth."""
    out: Array = matrix.sum(axis=0) - np.diagonal(matrix)
    return out


def false_negatives(matrix: Array) -> Array:
    """FN per class, (K,) int64: the class in the truth, predicted as another."""
    out: Array = matrix.sum(axis=1) - np.diagonal(matrix)
    return out


def true_negatives(matrix: Array) -> Array:
    """TN per class, (K,) int64: another in the truth, and predicted as another."""
    out: Array = matrix.sum() - matrix.sum(axis=0) - matrix.sum(axis=1) + np.diagonal(matrix)
    return out


def accuracy(matrix: Array) -> Array:
    """(TP + TN) / all per class, (K,) float64; NaN without any voxel."""
    right = true_positives(matrix) + true_negatives(matrix)
    return _ratio(right, np.full(len(matrix), matrix.sum()))


def negative_rate(matrix: Array) -> Array:
    """TN / (FN + TN) per class, (K,) float64; NaN where every voxel was predicted as the class."""
    negatives = true_negatives(matrix)
    return _ratio(negatives, false_negatives(matrix) + negatives)


def dice(matrix: Array) -> Array:
    """2TP / (2TP + FP + FN) per class, (K,) float64; NaN where the class is in neither."""
    return _ratio(2 * true_positives(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def iou(matrix: Array) -> Array:
    """TP / (TP + FP + FN) per class, (K,) float64; NaN where the class is in neither."""
    hits = true_positives(matrix)
    return _ratio(hits, matrix.sum(axis=0) + matrix.sum(axis=1) - hits)


def precision(matrix: Array) -> Array:
    """TP / (TP + FP) per class, (K,) float64; NaN where the class was never predicted."""
    return _ratio(true_positives(matrix), matrix.sum(axis=0))


def recall(matrix: Array) -> Array:
    """TP / (TP + FN) per class, (K,) float64; NaN where the class is not in the truth."""
    return _ratio(true_positives(matrix), matrix.sum(axis=1))


def pixel_accuracy(matrix: Array) -> float:
    """G: share of voxels predicted right."""
    return float(_ratio(np.trace(matrix), matrix.sum()))


def class_accuracy(matrix: Array) -> float:
    """C: mean recall over the classes of the truth."""
    return _mean(recall(matrix))


def mean_iou(matrix: Array) -> float:
    """Mean IoU over the classes of truth or prediction; a class in only one of them counts as 0."""
    return _mean(iou(matrix))


def frequency_weighted_iou(matrix: Array) -> float:
    """IoU of the classes weighted by their voxels in the truth."""
    return _weighted(iou(matrix), matrix.sum(axis=1))


def size_weighted_dice(matrix: Array, *, background: bool = False) -> float:
    """Σ n_c·Dice_c / Σ n_c with n_c the truth's voxels of class c; by default over the foreground only."""
    first = 0 if background else 1
    return _weighted(dice(matrix)[first:], matrix.sum(axis=1)[first:])


def _weighted(values: Array, weights: Array) -> float:
    """Weighted mean of the values with a weight; NaN without any."""
    weighted = weights > 0
    return float(_ratio((values[weighted] * weights[weighted]).sum(), weights.sum()))


def weighted_error(matrix: Array, cost_fp: float = 1.0, cost_fn: float = 1.0) -> Array:
    """c₀·FP + c₁·FN per class in voxels, (K,) float64."""
    out: Array = cost_fp * false_positives(matrix) + cost_fn * false_negatives(matrix)
    return out.astype(np.float64)


BY_CLASS = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "negative_rate": negative_rate,
    "dice": dice,
    "iou": iou,
}
"""Numbers of each class over a set, by name."""


def over_set(
    matrix: Array, cost_fp: float = 1.0, cost_fn: float = 1.0, *, background: bool = True
) -> dict[str, float]:
    """The numbers over a set by name; Dice is weighted and errors are summed over the foreground classes.

    Class 0 is the ``background``, or foreground like the others.
    """
    return {
        "G": pixel_accuracy(matrix),
        "C": class_accuracy(matrix),
        "mIoU": mean_iou(matrix),
        "fwIoU": frequency_weighted_iou(matrix),
        "size_weighted_dice": size_weighted_dice(matrix, background=not background),
        "weighted_error": float(weighted_error(matrix, cost_fp, cost_fn)[int(background) :].sum()),
    }
