"""Test-time augmentation: a predictor that sees each input at several scales, and mirrored left to right.

Scores of every view are brought back to the input's size bilinearly. Of the views the mean probability
counts, or of each class the largest score, as DeepLab fuses its scales (Chen et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.infer.predictor import Predictor, Spec
from medseg.model.description import Fusion
from medseg.networks.blocks import resized


@dataclass(frozen=True)
class TestTimeAugmentation:
    """``predictor`` at ``scales``, with a ``flip_axis`` also mirrored along it at each, fused by ``fusion``.

    The axis is that of (B, C, H, W) which runs from left to right, -2 or -1; see
    :func:`medseg.grid.left_right_axis`. A scaled side is rounded, then raised to the next that the predictor
    takes.
    """

    predictor: Predictor
    scales: Sequence[float] = (1.0,)
    fusion: Fusion = "mean"
    flip_axis: int | None = None

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
                mirrored = self.predictor(scaled.flip(self.flip_axis)).flip(self.flip_axis)
                yield resized(mirrored, batch.shape)
