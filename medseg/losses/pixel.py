"""Losses that are sums over pixels: cross-entropy and focal loss, with class weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.losses.base import MappedLoss, PixelReduction, check_not_negative, check_reduction, ratio


class _PixelLoss(MappedLoss):
    """Σ w·l(pixel); under "mean" that over Σ w, under "pixel_mean" over the number of pixels.

    w is the weight of the pixel's class (1 without class weights) plus, if there is one, the weight map.
    """

    class_weights: Tensor | None

    def __init__(
        self, class_weights: Sequence[float] | None = None, reduction: PixelReduction = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction, get_args(PixelReduction))
        self.reduction = reduction
        self.register_buffer("class_weights", checked_weights(class_weights), persistent=False)

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Take the weighted sum or mean over the pixels that are not void; 0 if there are none."""
        return self._weighted(logits, truth, self._weights_of(truth))

    def of_mapped_head(self, logits: Tensor, truth: Tensor, weight_map: Tensor) -> Tensor:
        """Do the same with the map added to the class weights."""
        return self._weighted(logits, truth, self._weights_of(truth) + weight_map * truth.sum(dim=1))

    def _weighted(self, logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        log_p = (logits.log_softmax(dim=1) * truth).sum(dim=1)  # of the true class, 0 at void: (B, H, W)
        total = (weights * self.of_pixel(log_p)).sum()
        if self.reduction == "sum":
            return total
        return ratio(total, (weights if self.reduction == "mean" else truth).sum(), empty=0.0)

    @abstractmethod
    def of_pixel(self, log_p: Tensor) -> Tensor:
        """Compute the loss of each pixel from the log-probability of its true class, (B, H, W)."""

    def _weights_of(self, truth: Tensor) -> Tensor:
        if self.class_weights is None:
            return truth.sum(dim=1)
        classes = truth.shape[1]
        if len(self.class_weights) != classes:
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "loss",
                f"{len(self.class_weights)} class weights for {classes} classes",
                f"give {classes} class weights, the background's first",
            )
        return (truth * self.class_weights.to(truth.device).view(1, classes, 1, 1)).sum(dim=1)


class CrossEntropy(_PixelLoss):
    """−Σ w·log p(y) over pixels, divided by Σ w under "mean"."""

    def of_pixel(self, log_p: Tensor) -> Tensor:
        """Compute −log p."""
        return -log_p


class Focal(_PixelLoss):
    """−Σ w·(1 − p(y))^γ·log p(y) over pixels (Lin et al. 2017), divided by Σ w under "mean"."""

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        reduction: PixelReduction = "mean",
        gamma: float = 2.0,
    ) -> None:
        super().__init__(class_weights, reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma

    def of_pixel(self, log_p: Tensor) -> Tensor:
        """Compute −(1 − p)^γ·log p."""
        # 1 − p is kept off zero, where the slope of a power below one is infinite.
        missed = -torch.expm1(log_p).clamp_max(-1e-12)
        return -(missed**self.gamma) * log_p


def checked_weights(class_weights: Sequence[float] | None) -> Tensor | None:
    """Check class weights: (K,) float32, or None. Raises KEYWORD_INVALID if one is negative, all are 0."""
    if class_weights is None:
        return None
    for weight in class_weights:
        check_not_negative("class_weights", float(weight))
    weights = torch.tensor([float(weight) for weight in class_weights], dtype=torch.float32)
    if not weights.sum() > 0:
        raise MedsegError(
            Code.KEYWORD_INVALID, "loss", f"class_weights={list(class_weights)}", "make one weight positive"
        )
    return weights
