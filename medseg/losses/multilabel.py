"""Losses of overlapping masks: logits (B, L, H, W) whose sigmoids p are the masks' probabilities.

Labels (B, H, W) are bytes whose bit l says whether mask l holds the pixel; 255 is void and counts nowhere.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.classes import VOID
from medseg.errors import Code, MedsegError
from medseg.losses.base import Loss, Reduction, check_reduction, ratio
from medseg.losses.overlap import soft_dice
from medseg.losses.pixel import checked_weights


class MaskLoss(Loss):
    """Base of the losses of overlapping masks."""

    def truth_of(self, labels: Tensor, classes: int) -> Tensor:
        """Encode labels (B, H, W) as (B, 2, L, H, W) float32: outside, inside each mask; void: both zero."""
        bits = torch.arange(classes, device=labels.device).view(1, classes, 1, 1)
        inside = (labels.unsqueeze(1).int() >> bits) & 1
        sides = torch.stack([1 - inside, inside], dim=1)
        return (sides * (labels != VOID).view(len(labels), 1, 1, *labels.shape[1:])).float()

    @abstractmethod
    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss of one head from logits (B, L, H, W) and what :meth:`truth_of` gives."""


class MaskCrossEntropy(MaskLoss):
    """Binary cross-entropy, −Σ w·(y·log p + (1 − y)·log(1 − p)) over pixels and masks.

    It is divided by Σ w under "mean". w are the ``class_weights``, one a mask, by default 1.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction
        self.register_buffer("class_weights", checked_weights(class_weights), persistent=False)

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Take the weighted sum or mean over what is not void; 0 if there is nothing."""
        outside, inside = truth.unbind(1)
        weights = (outside + inside) * self._weights_of(logits)
        losses = -(outside * F.logsigmoid(-logits) + inside * F.logsigmoid(logits))
        total = (weights * losses).sum()
        return total if self.reduction == "sum" else ratio(total, weights.sum(), empty=0.0)

    def _weights_of(self, logits: Tensor) -> Tensor:
        """Give the weights of the masks, (1, L, 1, 1)."""
        masks = logits.shape[1]
        if self.class_weights is None:
            return logits.new_ones(1, masks, 1, 1)
        if len(self.class_weights) != masks:
            details = f"{len(self.class_weights)} class weights for {masks} masks"
            raise MedsegError(
                Code.KEYWORD_INVALID, "loss", details, f"give {masks} class weights, one a mask"
            )
        return self.class_weights.to(logits.device).view(1, masks, 1, 1)


class MaskCEDice(MaskLoss):
    """Binary cross-entropy plus 1 − soft Dice, the mean over masks.

    A mask's Dice is over the pixels of the whole batch, 1 where it is in neither. ``class_weights`` and
    ``reduction`` are the cross-entropy's.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.cross_entropy = MaskCrossEntropy(class_weights, reduction)

    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Add the two."""
        outside, inside = truth.unbind(1)
        dice = soft_dice(logits.sigmoid() * (outside + inside), inside)
        return self.cross_entropy.of_head(logits, truth) + (1 - dice).mean()
