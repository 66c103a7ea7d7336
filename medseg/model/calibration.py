"""The calibration of a model: what Dice to expect of a label map, by signs that need no truth.

Of each structure a score adds up signs of failure, each times a weight that is not negative, so that no sign
can raise the expected Dice; a falling curve (isotonic regression) takes the score to a Dice. Weights, curves
and the threshold for "needs review" are numbers in `model.json`. They are fitted on validation cases alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medseg.grid import Array

FAILED = 0.7
"""A case below this mean Dice has to be flagged."""

GOOD = 0.8
"""A clean case above this mean Dice should not be flagged."""

FALSE_ALARMS = (0.05, 0.1)
"""Share of good clean validation cases that may be flagged: aimed at, and at most."""

_RIDGE = 0.01
"""Weight of the penalty on weights, relative to the samples: signs that say the same share it."""

_GROUPS = 25
"""Samples are averaged in this many groups of alike scores before the curve is fitted."""

_FOLDS = 5

Signs = Mapping[str, float]
"""Sign of failure → amount, 0 or more; of one structure of one case."""


class Curve(BaseModel):
    """Weights of the signs, and the Dice at ascending scores; straight lines between, level beyond."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, Annotated[float, Field(ge=0)]]
    scores: Annotated[tuple[float, ...], Field(min_length=1)]
    dice: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)]

    def expect(self, signs: Signs) -> float:
        """The Dice to expect of a structure; signs that it does not know count nothing."""
        score = sum(weight * signs.get(name, 0.0) for name, weight in self.weights.items())
        return float(np.interp(score, self.scores, self.dice))


class Calibration(BaseModel):
    """The curve of each structure, and the expected mean Dice below which a case needs review.

    ``fitted`` says on how much they were fitted, and how well they did on cases that were left out then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    structures: dict[str, Curve]
    review_below: Annotated[float, Field(ge=0, le=1)]
    fitted: dict[str, Any] = Field(default={})

    def expect(self, signs: Mapping[str, Signs]) -> dict[str, float]:
        """The Dice to expect of each structure that it knows."""
        return {name: curve.expect(signs[name]) for name, curve in self.structures.items() if name in signs}

    def words(self) -> str:
        """The threshold, and what it did on validation cases that were left out of the fit."""
        n = self.fitted
        flagged = f"flags {n['failed_flagged']} of {n['failed']} below Dice {FAILED:g}"
        alarms = f"{n['good_clean_flagged']} of {n['good_clean']} clean ones above {GOOD:g}"
        of = f"{n['predictions']} predictions of {n['cases']} validation cases"
        return f"a predicted Dice below {self.review_below:.2f} {flagged} and {alarms}, of {of}"


@dataclass(frozen=True)
class Sample:
    """A validation case, clean or with a ``corruption``: its signs and true Dice by structure.

    Dice is None where a structure is in neither truth nor prediction. ``confidence`` is the case's quality
    figure. A model that is calibrated already says what it ``expected``, and any model whether the case
    ``needs_review``.
    """

    case: str
    corruption: str
    signs: Mapping[str, Signs]
    dice: Mapping[str, float | None]
    confidence: float
    expected: float | None = None
    needs_review: bool = False

    @property
    def mean_dice(self) -> float | None:
        """The mean over structures; None where no structure has any."""
        return mean_of(self.dice.values())


def mean_of(values: Any) -> float | None:
    """The mean of those that are not None."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def fit(samples: Sequence[Sample]) -> Calibration:
    """Fit a calibration to validation cases; its threshold and figures come from cases left out in turn.

    Raises ValueError unless some sample has a Dice.
    """
    structures = _curves(samples)
    if not structures:
        raise ValueError("no sample has a Dice")
    expected = _expected_when_left_out(samples)
    below = _threshold(samples, expected)
    return Calibration(
        structures=structures, review_below=round(below, 4), fitted=_facts(samples, expected, below)
    )


def _curves(samples: Sequence[Sample]) -> dict[str, Curve]:
    names = dict.fromkeys(name for sample in samples for name in sample.dice)
    curves = {}
    for name in names:
        known = [
            (sample.signs[name], dice)
            for sample in samples
            if name in sample.signs and (dice := sample.dice[name]) is not None
        ]
        if known:
            curves[name] = _curve([signs for signs, _ in known], np.array([dice for _, dice in known]))
    return curves


def _curve(signs: Sequence[Signs], dice: Array) -> Curve:
    """Fit a curve to samples: ridge regression with weights of 0 or more, then isotonic regression."""
    from scipy.optimize import nnls  # here, as every command imports this module, and this takes 0.2 s

    names = sorted({name for one in signs for name in one})
    amounts = np.array([[one.get(name, 0.0) for name in names] for one in signs])
    spread = np.maximum(amounts.std(axis=0), 1e-9)
    penalty = np.sqrt(_RIDGE * len(dice)) * np.eye(len(names), len(names) + 1)
    design = np.column_stack([amounts / spread, np.ones(len(dice))])
    # The constant is a loss that every case has; it may not be negative either, and is not penalised.
    solved, _ = nnls(np.vstack([design, penalty]), np.concatenate([1 - dice, np.zeros(len(names))]))
    weights = solved[:-1] / spread
    scores, levels = _falling(amounts @ weights, dice)
    return Curve(
        weights={n: _digits(w) for n, w in zip(names, weights, strict=True) if w > 0},
        scores=tuple(map(_digits, scores)),
        dice=tuple(_digits(min(1.0, max(0.0, level))) for level in levels),
    )


def _falling(scores: Array, dice: Array) -> tuple[Array, Array]:
    """Fit a falling curve to Dice over scores: ascending scores (N,) and Dice (N,) at them."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    groups = np.array_split(order, min(_GROUPS, len(order)))
    centres = np.array([scores[group].mean() for group in groups])
    means = np.array([dice[group].mean() for group in groups])
    counts = np.array([len(group) for group in groups], float)
    levels = isotonic_regression(means, weights=counts, increasing=False).x
    kept = np.concatenate([[True], np.diff(centres) > 1e-6])  # np.interp needs scores that ascend
    return centres[kept], levels[kept]


def _expected_when_left_out(samples: Sequence[Sample]) -> list[dict[str, float]]:
    """Expected Dice by structure of each sample, by curves fitted without its case if there are several."""
    cases = list(dict.fromkeys(sample.case for sample in samples))
    folds = min(_FOLDS, len(cases))
    part = {case: number % folds for number, case in enumerate(cases)}
    expected: list[dict[str, float]] = [{}] * len(samples)
    for fold in range(folds):
        others = [s for s in samples if part[s.case] != fold or folds == 1]
        curves = _curves(others)
        for number, sample in enumerate(samples):
            if part[sample.case] == fold:
                known = {n: curves[n].expect(signs) for n, signs in sample.signs.items() if n in curves}
                expected[number] = known
    return expected


def _threshold(samples: Sequence[Sample], expected: Sequence[Mapping[str, float]]) -> float:
    """The expected mean Dice that best parts failed cases from good clean ones.

    It lies midway where they part. Where they overlap it flags as many failed cases as the share of false
    alarms allows.
    """
    failed, good = [], []
    for sample, by_structure in zip(samples, expected, strict=True):
        true, mean = sample.mean_dice, mean_of(by_structure.values())
        if true is None or mean is None:
            continue
        if true < FAILED:
            failed.append(mean)
        elif true > GOOD and not sample.corruption:
            good.append(mean)
    worst = max(failed, default=None)
    if not good:
        return FAILED if worst is None else min(1.0, worst + 1e-3)
    aim, most = np.quantile(good, FALSE_ALARMS)
    if worst is None:
        return float(min(aim, GOOD))
    return float((worst + aim) / 2 if worst < aim else min(worst + 1e-3, most))


def _facts(
    samples: Sequence[Sample], expected: Sequence[Mapping[str, float]], below: float
) -> dict[str, Any]:
    """Numbers of cases, and what the threshold did on samples whose case was left out of the fit."""
    pairs = [
        (sample, true, mean)
        for sample, by_structure in zip(samples, expected, strict=True)
        if (true := sample.mean_dice) is not None and (mean := mean_of(by_structure.values())) is not None
    ]
    failed = [mean for _, true, mean in pairs if true < FAILED]
    good = [mean for sample, true, mean in pairs if true > GOOD and not sample.corruption]
    true_dice = np.array([true for _, true, _ in pairs])
    means = np.array([mean for _, _, mean in pairs])
    varied = len(pairs) > 2 and true_dice.std() > 0 and means.std() > 0
    return {
        "cases": len({sample.case for sample in samples}),
        "predictions": len(samples),
        "failed": len(failed),
        "failed_flagged": sum(mean < below for mean in failed),
        "good_clean": len(good),
        "good_clean_flagged": sum(mean < below for mean in good),
        "correlation": _digits(float(np.corrcoef(true_dice, means)[0, 1])) if varied else None,
    }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
