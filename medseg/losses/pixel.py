"""Losses that are sums over pixels: cross-entropy and focal loss, with class weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.losses.base import Loss, Reduction, check_not_negative, check_reduction, ratio


class _PixelLoss(Loss):
    """Σ w(y)·l(pixel), and under "mean" that over Σ w(y); without class weights all w are 1."""

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction
        self.register_buffer("class_weights", _checked(class_weights), persistent=False)

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Weighted sum or mean over the pixels that are not void; 0 if there are none."""
        weights = self._weights_of(truth)
        log_p = (logits.log_softmax(dim=1) * truth).sum(dim=1)  # of the true class, 0 at void: (B, H, W)
        total = (weights * self.of_pixel(log_p)).sum()
        return total if self.reduction == "sum" else ratio(total, weights.sum(), empty=0.0)

    @abstractmethod
    def of_pixel(self, log_p: Tensor) -> Tensor:
        """The loss of each pixel from the log-probability of its true class, (B, H, W)."""

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
    """−Σ w(y)·log p(y) over pixels, divided by Σ w(y) under "mean"."""

    def of_pixel(self, log_p: Tensor) -> Tensor:
        """−log p."""
        return -log_p


class Focal(_PixelLoss):
    """−Σ w(y)·(1 − p(y))^γ·log p(y) over pixels (Lin et al. 2017), divided by Σ w(y) under "mean"."""

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
        gamma: float = 2.0,
    ) -> None:
        super().__init__(class_weights, reduction)
        check_not_negative("gamma", gamma)
        self.gamma = gamma

    def of_pixel(self, log_p: Tensor) -> Tensor:
        """−(1 − p)^γ·log p."""
        # 1 − p is kept off zero, where the slope of a power below one is infinite.
        missed = -torch.expm1(log_p).clamp_max(-1e-12)
        return -(missed**self.gamma) * log_p


def _checked(class_weights: Sequence[float] | None) -> Tensor | None:
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
