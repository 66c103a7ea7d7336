"""The base of all losses, and the parts they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError

Reduction = Literal["mean", "sum"]
PixelReduction = Literal["mean", "pixel_mean", "sum"]


class Loss(nn.Module, ABC):
    """Base of all losses: logits ``(B, K, H, W)`` and labels ``(B, H, W)`` -> a scalar float32.

    Labels are class indices of any integer dtype; 255 is void and counts nowhere. A list of logits (deep
    supervision) gives the mean over its heads, or with ``head_weights``, one a head, their weighted sum (main
    and auxiliary heads). Everything is computed in float32, under autocast too, by
    products with a one-hot map alone, so that the result is deterministic on every device.
    """

    head_weights: tuple[float, ...] = ()

    def forward(
        self, logits: Tensor | Sequence[Tensor], labels: Tensor, weight_map: Tensor | None = None
    ) -> Tensor:
        """Compute the loss over all heads. Raises KEYWORD_INVALID for a weight map it cannot use."""
        return self.over_heads(self.by_head(logits, labels, weight_map))

    def over_heads(self, losses: Tensor) -> Tensor:
        """Combine the losses of the heads (heads,); a single one is that of the main head alone."""
        if self.head_weights and len(losses) > 1:
            return (losses * losses.new_tensor(self.head_weights)).sum()
        return losses.mean()

    def by_head(
        self, logits: Tensor | Sequence[Tensor], labels: Tensor, weight_map: Tensor | None = None
    ) -> Tensor:
        """Compute the loss of each head, (heads,)."""
        heads = [logits] if isinstance(logits, Tensor) else list(logits)
        with torch.autocast(heads[0].device.type, enabled=False):
            return torch.stack([self._of_head(head.float(), labels, weight_map) for head in heads])

    def _of_head(self, logits: Tensor, labels: Tensor, weight_map: Tensor | None) -> Tensor:
        if weight_map is not None:
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "loss",
                f"{type(self).__name__} takes no weight map",
                "use a loss with a cross-entropy, or no map",
            )
        return self.of_head(logits, self.truth_of(labels, logits.shape[1]))

    def truth_of(self, labels: Tensor, classes: int) -> Tensor:
        """Turn labels (B, H, W) into what :meth:`of_head` takes."""
        return one_hot(labels, classes)

    @abstractmethod
    def of_head(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss of one head; logits and one-hot truth (void: zero) are (B, K, H, W) float32."""


class MappedLoss(Loss):
    """A loss that takes a weight map ``(B, H, W)``: it is added to the class weight of each pixel."""

    def _of_head(self, logits: Tensor, labels: Tensor, weight_map: Tensor | None) -> Tensor:
        truth = one_hot(labels, logits.shape[1])
        if weight_map is None:
            return self.of_head(logits, truth)
        return self.of_mapped_head(logits, truth, weight_map.float())

    @abstractmethod
    def of_mapped_head(self, logits: Tensor, truth: Tensor, weight_map: Tensor) -> Tensor:
        """Compute the loss of one head with a weight map (B, H, W) float32."""


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Encode labels (B, H, W) as (B, K, H, W) float32; void (any index from K upwards) is zero in all K."""
    index = torch.arange(classes, device=labels.device).view(1, classes, 1, 1)
    return (labels.unsqueeze(1) == index).float()


def ratio(numerator: Tensor, denominator: Tensor, empty: float) -> Tensor:
    """Divide non-negative numbers element by element; ``empty`` where the denominator is zero."""
    safe = denominator.clamp_min(torch.finfo(denominator.dtype).tiny)
    return torch.where(denominator > 0, numerator / safe, empty)


def reduce(values: Tensor, reduction: Reduction) -> Tensor:
    """Take the mean or the sum over all values."""
    return values.mean() if reduction == "mean" else values.sum()


def check_reduction(reduction: str, known: tuple[str, ...] = get_args(Reduction)) -> None:
    """Raise ``KEYWORD_INVALID`` unless it is one of those known."""
    if reduction not in known:
        raise MedsegError(Code.KEYWORD_INVALID, "loss", f"reduction={reduction!r}", f"use one of {known}")


def check_not_negative(name: str, value: float) -> None:
    """Raise ``KEYWORD_INVALID`` unless ``value`` is a finite number from 0 upwards."""
    if not (math.isfinite(value) and value >= 0):
        raise MedsegError(
            Code.KEYWORD_INVALID, "loss", f"{name}={value!r}", "give a finite number, at least 0"
        )
