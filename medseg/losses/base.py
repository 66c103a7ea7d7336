"""What every loss promises, and the parts they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError

Reduction = Literal["mean", "sum"]


class Loss(nn.Module, ABC):
    """Base of all losses: logits ``(B, K, H, W)`` and labels ``(B, H, W)`` -> a scalar float32.

    Labels are class indices of any integer dtype; 255 is void and counts nowhere. A list of logits (deep
    supervision) gives the mean over its heads. Everything is computed in float32, under autocast too, by
    products with a one-hot map alone, so that the result is deterministic on every device.
    """

    def forward(self, logits: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """The loss, averaged over heads if there are several."""
        return self.by_head(logits, labels).mean()

    def by_head(self, logits: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """The loss of each head, (heads,)."""
        heads = [logits] if isinstance(logits, Tensor) else list(logits)
        with torch.autocast(heads[0].device.type, enabled=False):
            return torch.stack([self.of_head(head.float(), one_hot(labels, head.shape[1])) for head in heads])

    @abstractmethod
    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of one head from logits and one-hot truth (void: all zero), both (B, K, H, W) float32."""


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (B, H, W) -> (B, K, H, W) float32; void (any index from K upwards) is zero in all K."""
    index = torch.arange(classes, device=labels.device).view(1, classes, 1, 1)
    return (labels.unsqueeze(1) == index).float()


def ratio(numerator: Tensor, denominator: Tensor, empty: float) -> Tensor:
    """Element-wise quotient of non-negative numbers; ``empty`` where the denominator is zero."""
    safe = denominator.clamp_min(torch.finfo(denominator.dtype).tiny)
    return torch.where(denominator > 0, numerator / safe, empty)


def reduce(values: Tensor, reduction: Reduction) -> Tensor:
    """Mean or sum over all values."""
    return values.mean() if reduction == "mean" else values.sum()


def check_reduction(reduction: str) -> None:
    """Raise ``KEYWORD_INVALID`` unless it is "mean" or "sum"."""
    if reduction not in get_args(Reduction):
        raise MedsegError(
            Code.KEYWORD_INVALID, "loss", f"reduction={reduction!r}", f"use one of {get_args(Reduction)}"
        )


def check_not_negative(name: str, value: float) -> None:
    """Raise ``KEYWORD_INVALID`` unless ``value`` is a finite number from 0 upwards."""
    if not (math.isfinite(value) and value >= 0):
        raise MedsegError(
            Code.KEYWORD_INVALID, "loss", f"{name}={value!r}", "give a finite number, at least 0"
        )
