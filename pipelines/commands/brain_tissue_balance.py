"""Odds of the tissue model's classes, raised where it misses more of a class than it adds to it.

A network that is unsure takes the class that is commoner around: thin parts of ventricles, which look like
grey matter, become grey matter. On synthetic people whom the training never drew, factors of the classes'
odds are chosen by mean Dice; their logarithms are added to the biases of the last layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.infer.loading import Model
from medseg.infer.segment import finish_case, predict_case, prepare_case
from medseg.io.memory import MemoryImage
from medseg.metrics import confusion_matrix
from medseg.synth.scanner import Scan

FACTORS = (1.0, 1.25, 1.5, 2.0)
"""Factors of a class's odds that are tried: at most 2, so that probabilities stay near what they mean."""

SWEEPS = 2
"""Times that each class has its turn."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's probabilities in a scan, at the voxels of its foreground or of the labels'.

    ``probabilities`` (K, n) uint8 are in steps of 1/255; ``labels`` (n,) uint8 are the true classes.
    """

    probabilities: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def dice(self, factors: npt.NDArray[np.float32]) -> float:
        """Mean Dice of the foreground classes when the odds of each class are multiplied by its factor."""
        predicted = (self.probabilities * factors[:, None]).argmax(axis=0).astype(np.uint8)
        matrix = confusion_matrix.confusion(self.labels, predicted, len(factors))
        return float(np.nanmean(confusion_matrix.dice(matrix)[1:]))


def answers(model: Model, scans: Iterable[Scan]) -> Iterator[Answer]:
    """Segment scans, as `medseg segment` does."""
    for number, scan in enumerate(scans):
        image = scan.image.astype(np.float32)
        case = MemoryImage(f"synthetic scan {number}", image - image.min(), np.eye(4))
        prepared = prepare_case({model.description.channels[0]: case}, model.description, accept_domain=True)
        result = finish_case(predict_case(prepared, model, probabilities=True), model.description)
        if result.probabilities is None:
            raise ValueError("probabilities were asked for")
        stored = np.asarray(result.probabilities.array)
        known = (stored[0] < stored.max()) | (scan.labels > 0)
        yield Answer(stored[:, known], scan.labels[known])


def best_factors(given: list[Answer]) -> npt.NDArray[np.float32]:
    """Choose a factor (K,) for the odds of each foreground class in turn, by mean Dice over scans."""
    factors = np.ones(len(given[0].probabilities), np.float32)
    best = _mean_dice(given, factors)
    for _ in range(SWEEPS):
        for k in range(1, len(factors)):
            for factor in FACTORS:
                tried = factors.copy()
                tried[k] = factor
                score = _mean_dice(given, tried)
                if score > best:
                    factors, best = tried, score
    return factors


def _mean_dice(given: list[Answer], factors: npt.NDArray[np.float32]) -> float:
    return float(np.mean([answer.dice(factors) for answer in given]))
