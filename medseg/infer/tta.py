"""Test-time augmentation: a predictor that sees each input at several scales, and mirrored left to right.

Scores of every view are brought back to the input's size bilinearly. Of the views the mean probability
counts, or of each class the largest score, as DeepLab fuses its scales (Chen et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medseg.infer.predictor import Predictor, Spec
from medseg.model.description import Fusion
from medseg.networks.blocks import resized


@dataclass(frozen=True)
class TestTimeAugmentation:
    """``predictor`` at ``scales``, with a ``flip_axis`` also mirrored along it at each, fused by ``fusion``.

    The axis is the one of a slice (H, W) that runs from left to right; see
    :func:`medseg.patches.slabs.flip_axis`. A scaled side is rounded, then raised to the next that the
    predictor takes.
    """

    predictor: Predictor
    scales: Sequence[float] = (1.0,)
    fusion: Fusion = "mean"
    flip_axis: Literal["h", "w"] | None = None

    @property
    def spec(self) -> Spec:
        """The form of the predictor's input and output."""
        return self.predictor.spec

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H, W) float32; "mean" those of the mean."""
        first, *others = self._scores(batch)
        if self.fusion == "max":
            for scores in others:
                first = torch.maximum(first, scores)
            return first
        total = self.spec.probabilities(first)
        for scores in others:
            total += self.spec.probabilities(scores)
        return self.spec.logits(total / (1 + len(others)))

    def _scores(self, batch: Tensor) -> Iterator[Tensor]:
        """Logits (B, K, H, W) of each view, on the predictor's device."""
        for scale in self.scales:
            sides = (self.spec.size_from(max(1, round(side * scale))) for side in batch.shape[-2:])
            scaled = resized(batch, tuple(sides))
            yield resized(self.predictor(scaled), batch.shape)
            if self.flip_axis is not None:
                dim = {"h": -2, "w": -1}[self.flip_axis]
                mirrored = self.predictor(scaled.flip(dim)).flip(dim)
                yield resized(mirrored, batch.shape)
