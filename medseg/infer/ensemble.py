"""Several predictors as one: the members of an ensemble, and predictors of several planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.infer.predictor import Predictor, Spec

EnsembleRule = Literal["mean", "vote"]


class Ensemble:
    """Several predictors as one: the log of their mean probability, or of their share of votes.

    Both are logits like any other: their soft-max is the mean, or the share, again. A tie of votes goes to
    the lowest class index, as arg-max does with every tie. Of overlapping masks it is the logit instead of
    the log, and a mask holds what more than half of the votes say that it does. Raises KEYWORD_INVALID for
    members that do not take and give the same.
    """

    def __init__(self, predictors: Sequence[Predictor], ensemble: Literal["mean", "vote"] = "mean") -> None:
        self._of_member = _common_spec([predictor.spec for predictor in predictors])
        self._predictors = tuple(predictors)
        self.ensemble = ensemble
        half = (0.5,) * len(self._of_member.thresholds)
        self.spec = replace(self._of_member, thresholds=half) if ensemble == "vote" else self._of_member

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H, W) float32; -inf for a class nobody voted for."""
        first, *others = self._predictors
        total = self._share(first(batch))
        for predictor in others:
            total += self._share(predictor(batch))
        return self.spec.logits(total / len(self._predictors))

    def _share(self, logits: Tensor) -> Tensor:
        """A member's probabilities (B, K, H, W), or its votes: 1 for the class that it votes for."""
        return (
            self._of_member.probabilities(logits)
            if self.ensemble == "mean"
            else _votes(logits, self._of_member)
        )


@dataclass(frozen=True, eq=False)
class MultiPlaneEnsemble:
    """A predictor for each of several planes, and the rule that joins their results.

    It may be one network, seen along each plane. Raises KEYWORD_INVALID for the same plane twice and for
    predictors of other channels or classes.
    """

    predictors: tuple[Predictor, ...]
    ensemble: EnsembleRule = "mean"

    def __post_init__(self) -> None:
        specs = [predictor.spec for predictor in self.predictors]
        planes = [spec.plane for spec in specs]
        common = {(spec.channels, spec.classes, spec.background, spec.thresholds) for spec in specs}
        if len(common) != 1 or len(set(planes)) < len(planes):
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "planes",
                f"{len(specs)} predictors: {', '.join(map(str, specs))}",
                "give one for each plane, all of the same channels and classes",
            )

    @property
    def classes(self) -> int:
        """Classes, background included."""
        return self.predictors[0].spec.classes


def combine_planes(predictors: Sequence[Predictor], ensemble: EnsembleRule) -> Predictor | MultiPlaneEnsemble:
    """The predictors of different planes as one; a single one as it is."""
    return predictors[0] if len(predictors) == 1 else MultiPlaneEnsemble(tuple(predictors), ensemble)


def _common_spec(specs: Sequence[Spec]) -> Spec:
    """The members' spec, with the least step that suits all."""
    size_divisor = math.lcm(*(spec.size_divisor for spec in specs))
    needed = max((spec.bytes_per_pixel for spec in specs), default=0.0)
    min_size = max((spec.min_size for spec in specs), default=1)
    common = {
        replace(spec, size_divisor=size_divisor, min_size=min_size, bytes_per_pixel=needed) for spec in specs
    }
    if len(common) != 1:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "members",
            f"{len(specs)} members with {len(common)} different specs: {sorted(map(str, common))}",
            "combine one or more members of one plane, slab depth, channels and classes",
        )
    return common.pop()


def _votes(logits: Tensor, spec: Spec) -> Tensor:
    if spec.thresholds:
        return spec.inside(logits).float()
    return torch.zeros_like(logits).scatter_(1, logits.argmax(dim=1, keepdim=True), 1.0)
