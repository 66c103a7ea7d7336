"""Overlap metrics by counting voxel after voxel, without a confusion matrix."""

from __future__ import annotations

from typing import Any

VOID = 255


def counts(truth: Any, prediction: Any, index: int) -> tuple[int, int, int, int]:
    """TP, FP, FN, TN of one class; void in the truth is left out."""
    tp = fp = fn = tn = 0
    for t, p in zip(truth.ravel(), prediction.ravel(), strict=True):
        if t == VOID:
            continue
        tp += t == index and p == index
        fp += t != index and p == index
        fn += t == index and p != index
        tn += t != index and p != index
    return tp, fp, fn, tn


def ratio(numerator: float, denominator: float) -> float | None:
    """The quotient, None where it is undefined."""
    return numerator / denominator if denominator else None


def overlaps(truth: Any, prediction: Any, index: int) -> dict[str, float | None]:
    """Dice, IoU, precision and recall of one class."""
    tp, fp, fn, _ = counts(truth, prediction, index)
    return {
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "iou": ratio(tp, tp + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
    }


def over_set(truth: Any, prediction: Any, classes: int) -> dict[str, float | None]:
    """G, C, mIoU and fwIoU; a class in neither, and in C one that is not in the truth, is left out."""
    counted = [counts(truth, prediction, index) for index in range(classes)]
    valid = sum(counted[0])
    of_class = [overlaps(truth, prediction, index) for index in range(classes)]
    recalls = [found["recall"] for found in of_class if found["recall"] is not None]
    ious = [found["iou"] for found in of_class if found["iou"] is not None]
    weighted = [
        (found["iou"] or 0.0) * (tp + fn) for found, (tp, _, fn, _) in zip(of_class, counted, strict=True)
    ]
    return {
        "G": ratio(sum(tp for tp, _, _, _ in counted), valid),
        "C": ratio(sum(recalls), len(recalls)),
        "mIoU": ratio(sum(ious), len(ious)),
        "fwIoU": ratio(sum(weighted), valid),
    }


def bootstrap_means(values: list[float], subjects: list[str], drawn: Any) -> list[float]:
    """Means over the cases of the drawn subjects; ``drawn`` holds one row of subject numbers per draw."""
    names = sorted(set(subjects))
    means = []
    for row in drawn:
        held = [v for number in row for v, s in zip(values, subjects, strict=True) if s == names[number]]
        means.append(sum(held) / len(held))
    return means
