"""Validation during training: whole volumes predicted as later ones are, scored on their prepared grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from medseg.classes import ClassList
from medseg.evaluate import confusion_matrix
from medseg.grid import Array
from medseg.infer import predict
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import Inferer
from medseg.infer.predictor import Predictor
from medseg.preprocess.store import PreprocessedCase

DICE, IOU = "dice_mean", "miou"
OVER_SET = {
    IOU: confusion_matrix.mean_iou,
    "G": confusion_matrix.pixel_accuracy,
    "C": confusion_matrix.class_accuracy,
}
"""What validation tells of all pixels of all its cases together."""


def by_volumes(
    cases: Sequence[PreprocessedCase],
    classes: ClassList,
    predictor: Callable[[nn.Module], Predictor | MultiPlaneEnsemble],
    how: Inferer,
    *,
    over_set: bool,
    draw: Callable[[Array], None] | None = None,
) -> Callable[[nn.Module], dict[str, float]]:
    """A function that scores a network: Dice per class and their mean, each the mean over ``cases``.

    With ``over_set`` also what :data:`OVER_SET` names. ``draw`` gets the labels (X, Y, Z) of the first case.
    """

    def validate(network: nn.Module) -> dict[str, float]:
        labeller = predictor(network)
        dice, total = [], np.zeros((), np.int64)
        for n, case in enumerate(cases):
            labels = predict.label(case.ready, labeller, how).labels
            if n == 0 and draw is not None:
                draw(labels)
            matrix = confusion_matrix.confusion_of(_label(case), labels, classes)
            dice.append(confusion_matrix.foreground_dice(matrix, classes))
            total = total + matrix
        means = _means(np.array(dice))
        named = zip(classes.foreground_names, means, strict=True)
        found = {f"dice_{name}": float(m) for name, m in named}
        if over_set:
            found |= {name: score(total) for name, score in OVER_SET.items()}
        return {**found, DICE: float(np.nanmean(means))}

    return validate


def _label(case: PreprocessedCase) -> Any:
    if case.label is None:
        raise ValueError(f"validation case {case.name} has no label")
    return np.asarray(case.label)


def _means(dice: Any) -> Any:
    """Means over cases (N, K) → (K,), a class that no case has left out as NaN."""
    counted = np.isfinite(dice).sum(axis=0)
    return np.divide(np.nansum(dice, axis=0), counted, out=np.full(len(counted), np.nan), where=counted > 0)
