"""Validation during training: whole volumes predicted as later ones are, scored on their prepared grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from medseg.classes import ClassList
from medseg.grid import Array
from medseg.infer import predict
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import Inferer
from medseg.infer.predictor import Predictor
from medseg.metrics import boundary, confusion_matrix
from medseg.preprocess.store import PreprocessedCase

DICE, IOU, BF, LOSS = "dice_mean", "miou", "BF", "loss"

_MOST_SAID = 12
"""Classes whose Dice are said after each validation."""

EXPLAINED = "explained_variance"
"""Share of the grey values' variance that an auto-encoder gives again."""

OVER_SET = {
    IOU: confusion_matrix.mean_iou,
    "G": confusion_matrix.pixel_accuracy,
    "C": confusion_matrix.class_accuracy,
}
"""Scores of all pixels of all validation cases together."""


def by_volumes(
    cases: Sequence[PreprocessedCase],
    classes: ClassList,
    predictor: Callable[[nn.Module], Predictor | MultiPlaneEnsemble],
    inferer: Inferer,
    *,
    over_set: bool,
    draw: Callable[[Array], None] | None = None,
) -> Callable[[nn.Module], dict[str, float]]:
    """Make a function that scores a network: Dice per class and their mean, each the mean over ``cases``.

    In a case that lacks a class, its Dice is 1 if it is not predicted, else 0. A class that no case holds
    says nothing about a network: its Dice is NaN and has no part in the mean; where no case holds any class,
    every score is NaN. With ``over_set`` also what :data:`OVER_SET` names, and of images :data:`BF`, the mean
    over them of each one's mean over its classes. ``draw`` gets the labels (X, Y, Z) of the first case.
    """

    def validate(network: nn.Module) -> dict[str, float]:
        labeller = predictor(network)
        matrices, contours = [], []
        for n, case in enumerate(cases):
            labels = predict.label(case.volume, labeller, inferer).labels
            if n == 0 and draw is not None:
                draw(labels)
            if case.label is None:
                raise ValueError(f"validation case {case.name} has no label")
            truth = np.asarray(case.label)
            matrices.append(confusion_matrix.confusion_of(truth, labels, classes))
            if over_set and case.volume.grid.unit == "px":
                contours += boundary_f1(truth[..., 0], labels[..., 0])
        means = _mean_dice(matrices, classes)
        defined = means[np.isfinite(means)]
        scores = {f"dice_{name}": float(m) for name, m in zip(classes.foreground_names, means, strict=True)}
        if over_set:
            total: Array = sum(matrices, np.zeros((), np.int64))
            scores |= {name: s(total) if len(defined) else np.nan for name, s in OVER_SET.items()}
            if all(case.volume.grid.unit == "px" for case in cases):
                scores[BF] = float(np.mean(contours)) if contours else np.nan
        return {**scores, DICE: float(defined.mean()) if len(defined) else np.nan}

    return validate


def boundary_f1(truth: Array, labels: Array) -> list[float]:
    """Mean BF over the classes of an image (H, W), as a list of one; of none without a boundary."""
    by_class = boundary.scores(truth, labels, boundary.tolerance_px(truth.shape))
    return [float(np.mean([score.f1 for score in by_class.values()]))] if by_class else []


def absent_classes(cases: Sequence[PreprocessedCase], classes: ClassList) -> list[str]:
    """List the foreground classes, or masks, that no case holds a voxel of."""
    names = enumerate(classes.foreground_names, start=classes.foreground.start)
    return [name for index, name in names if not any(case.counts.get(index) for case in cases)]


def score(name: str, matrices: Sequence[Array], contours: Sequence[float], classes: ClassList) -> float:
    """Give one score of validation by its name, from the matrices of the cases and the BF of images."""
    if name == DICE:
        means = _mean_dice(matrices, classes)
        return float(np.nanmean(means)) if np.isfinite(means).any() else np.nan
    if name == BF:
        return float(np.mean(contours)) if contours else np.nan
    return float(OVER_SET[name](sum(matrices, np.zeros((), np.int64))))


def scores_in_words(val: dict[str, float]) -> str:
    """Put validation in a few words: the numbers over the set where there are any, else each class's Dice.

    Of many classes the mean and the lowest stand for all.
    """
    scores = {k: v for k, v in val.items() if k != LOSS}
    words = {k: f"{v:.4f}" if math.isfinite(v) else "not defined" for k, v in scores.items()}
    if over_set := [f"{k} {text}" for k, text in words.items() if k in (*OVER_SET, EXPLAINED)]:
        return ", ".join(over_set)
    by_class = {k: v for k, v in scores.items() if k != DICE and math.isfinite(v)}
    if len(scores) - 1 > _MOST_SAID and by_class:
        lowest = min(by_class, key=lambda k: by_class[k])
        last = f"lowest of {len(by_class)} classes: {lowest.removeprefix('dice_')} {words[lowest]}"
        return f"Dice mean {words[DICE]} ({last})"
    dice = ", ".join(f"{k.removeprefix('dice_')} {text}" for k, text in words.items())
    return f"Dice {dice}" if dice else ""


def _mean_dice(matrices: Sequence[Array], classes: ClassList) -> Array:
    """Mean Dice over cases of each foreground class or mask, (N,); NaN for those in no case's truth."""
    dice = np.array([confusion_matrix.foreground_dice(matrix, classes) for matrix in matrices])
    occurs = np.any([_in_truth(matrix, classes) for matrix in matrices], axis=0)
    means: Array = np.where(np.isnan(dice), 1.0, dice).sum(axis=0) / len(matrices)
    return np.where(occurs, means, np.nan)


def _in_truth(matrix: Array, classes: ClassList) -> Any:
    """Mask (N,) of the foreground classes or masks that the truth holds, from its confusion matrix."""
    if classes.multilabel:
        return matrix[:, 1].sum(axis=1) > 0
    return matrix.sum(axis=1)[classes.foreground] > 0
