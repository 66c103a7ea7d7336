"""Losses by overlap: soft Dice, soft IoU, and the two sums of cross-entropy and Dice.

p are soft-max probabilities, y the one-hot truth; every Σ runs over the pixels of the whole batch that are
not void, so that a class is judged once a batch and not once an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.losses.base import (
    Loss,
    MappedLoss,
    PixelReduction,
    Reduction,
    check_not_negative,
    check_reduction,
    ratio,
    reduce,
)
from medseg.losses.pixel import CrossEntropy


def soft_dice(p: Tensor, y: Tensor, *, smooth: float = 0.0, squared: bool = False) -> Tensor:
    """Compute each class's Dice, (K,): (2Σpy + smooth) / (Σp + Σy + smooth), with Σp² + Σy² if ``squared``.

    :param p: probabilities (B, K, H, W), zero at void. :param y: one-hot truth of the same shape.
    A class in neither (denominator 0) has Dice 1.
    """
    sizes = _total(p * p) + _total(y * y) if squared else _total(p) + _total(y)
    return ratio(2 * _total(p * y) + smooth, sizes + smooth, empty=1.0)


def soft_iou(p: Tensor, y: Tensor) -> Tensor:
    """Compute the IoU of each class, (K,): Σpy / Σ(p + y − py); see :func:`soft_dice` for the arguments."""
    return ratio(_total(p * y), _total(p + y - p * y), empty=1.0)


class SoftDice(Loss):
    """1 − soft Dice, averaged or summed over classes; ``background`` says whether class 0 is one of them."""

    def __init__(
        self, reduction: Reduction = "mean", *, background: bool = True, squared: bool = False
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction, self.first, self.squared = reduction, 0 if background else 1, squared

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Compute 1 − Dice over the batch's pixels."""
        dice = soft_dice(_probabilities(logits, truth), truth, squared=self.squared)
        return reduce(1 - dice[self.first :], self.reduction)


class SoftIoU(Loss):
    """1 − soft IoU, averaged or summed over classes; ``background`` says whether class 0 is one of them."""

    def __init__(self, reduction: Reduction = "mean", *, background: bool = True) -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction, self.first = reduction, 0 if background else 1

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Compute 1 − IoU over the batch's pixels."""
        iou = soft_iou(_probabilities(logits, truth), truth)
        return reduce(1 - iou[self.first :], self.reduction)


class CEDice(MappedLoss):
    """Weighted cross-entropy (mean over Σw) plus 1 − soft Dice (class-mean, with background, unweighted).

    ``reduction`` is the cross-entropy's.
    """

    def __init__(
        self, class_weights: Sequence[float] | None = None, reduction: PixelReduction = "mean"
    ) -> None:
        super().__init__()
        self.cross_entropy, self.dice = CrossEntropy(class_weights, reduction), SoftDice()

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Add the two."""
        return self.cross_entropy.of_head(logits, truth) + self.dice.of_head(logits, truth)

    def of_mapped_head(self, logits: Tensor, truth: Tensor, weight_map: Tensor) -> Tensor:
        """Add the two; the map weighs the cross-entropy alone."""
        mapped = self.cross_entropy.of_mapped_head(logits, truth, weight_map)
        return mapped + self.dice.of_head(logits, truth)


class UNetPP(Loss):
    """UNet++'s equation (2): ½·cross-entropy − soft Dice of the foreground, over all heads.

    The paper's binary cross-entropy of a sigmoid head is the cross-entropy of two soft-max classes whose
    logits differ by the sigmoid's; with more classes Dice is the foreground classes' mean. The value lies
    between −1 and infinity. ``reduction`` is over heads. ``smooth`` is added above and below in Dice (the
    equation has 0, the authors' code 1).
    """

    def __init__(self, reduction: Reduction = "mean", smooth: float = 0.0) -> None:
        super().__init__()
        check_reduction(reduction)
        check_not_negative("smooth", smooth)
        self.reduction, self.smooth, self.cross_entropy = reduction, smooth, CrossEntropy()

    def forward(
        self, logits: Tensor | Sequence[Tensor], labels: Tensor, weight_map: Tensor | None = None
    ) -> Tensor:
        """Compute the equation, averaged or summed over heads of equal weight."""
        losses = self.by_head(logits, labels, weight_map)
        return self.over_heads(losses) if self.head_weights else reduce(losses, self.reduction)

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Compute ½·CE − Dice of one head."""
        dice = soft_dice(_probabilities(logits, truth), truth, smooth=self.smooth)
        return self.cross_entropy.of_head(logits, truth) / 2 - dice[1:].mean()


def _probabilities(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft-max over classes, zero at void, (B, K, H, W)."""
    return torch.softmax(logits, dim=1) * truth.sum(dim=1, keepdim=True)


def _total(x: Tensor) -> Tensor:
    """Sum over everything but the class axis: (B, K, H, W) -> (K,)."""
    return x.sum(dim=(0, 2, 3))
