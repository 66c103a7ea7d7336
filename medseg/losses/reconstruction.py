"""The loss of an auto-encoder: no label has a part in it."""

from __future__ import annotations

from torch import Tensor

from medseg.losses.base import Loss


class Reconstruction(Loss):
    """Mean squared difference of the outputs (B, C·D, H, W) from scaled grey values of the same shape.

    The grey values come in the labels' place: they are the network's input before noise and the like.
    """

    def truth_of(self, labels: Tensor, classes: int) -> Tensor:  # noqa: ARG002  # as every loss
        """Give the grey values, as they are."""
        return labels.float()

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Compute the mean over all pixels, channels and slices."""
        return (logits - truth).square().mean()
