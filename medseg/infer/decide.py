"""Decisions: labels and confidence of one slice, from the scores of its classes or masks, on their device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Decided = tuple[Tensor, Tensor]
"""Labels (H, W) uint8 and confidence (H, W) float32 of one slice."""


@dataclass(frozen=True)
class Decision:
    """The rule from scores (K, H, W) to labels: the highest, or masks above their ``thresholds``.

    ``probabilities`` makes probabilities or vote shares of scores (K, H, W); ``first`` is the lowest label
    that is foreground. A confidence is what :class:`medseg.infer.predict.Prediction` says; unless
    ``everywhere``, it may be 0 in rows without foreground.
    """

    probabilities: Callable[[Tensor], Tensor]
    thresholds: Sequence[float]
    first: int
    everywhere: bool

    def __call__(self, scores: Tensor) -> Decided:
        """Labels, ties to the lowest index, and confidence."""
        if self.thresholds:
            shares = self.probabilities(scores)
            return masks_above(shares, self.thresholds), sureness(shares)
        labels = highest(scores)
        if self.everywhere or scores.device.type != "cpu":  # to look for rows would be to wait for the device
            return labels, lead(self.probabilities(scores))
        confidence = torch.zeros(labels.shape)
        rows = (labels >= self.first).any(dim=1).nonzero().flatten().tolist()
        if rows:
            busy = slice(rows[0], rows[-1] + 1)
            confidence[busy] = lead(self.probabilities(scores[:, busy]))
        return labels, confidence


def highest(scores: Tensor) -> Tensor:
    """The index of the highest of (K, …) as uint8, ties to the lowest."""
    if scores.device.type != "cpu":
        return scores.argmax(dim=0).to(torch.uint8)
    # On a CPU the loop takes a tenth of argmax's time, and numpy compares several times as fast as torch.
    class_by_class = scores.detach().numpy()
    if class_by_class.strides[-1] != class_by_class.itemsize:  # a pixel's scores lie side by side
        class_by_class = np.ascontiguousarray(class_by_class)
    best, labels = class_by_class[0].copy(), np.zeros(scores.shape[1:], np.uint8)
    for index, one in enumerate(class_by_class[1:], 1):
        is_higher = (one > best).view(np.uint8)
        np.maximum(labels, np.multiply(is_higher, np.uint8(index), out=is_higher), out=labels)
        if index < len(scores) - 1:
            np.maximum(best, one, out=best)
    return torch.from_numpy(labels)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """1 where a label (…) uint8 is the class, (K, …) uint8."""
    indices = torch.arange(classes, dtype=torch.uint8, device=labels.device).view(-1, *[1] * labels.dim())
    if labels.device.type != "cpu":
        return (labels == indices).view(torch.uint8)
    return torch.from_numpy((labels.numpy() == indices.numpy()).view(np.uint8))  # in a tenth of torch's time


def lead(probabilities: Tensor) -> Tensor:
    """The difference of the highest and the second highest of (K, …), at least two."""
    best, second = torch.maximum(*probabilities[:2]), torch.minimum(*probabilities[:2])
    for one in probabilities[2:]:
        second = torch.maximum(second, torch.minimum(best, one))
        best = torch.maximum(best, one)
    return best - second


def masks_above(shares: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The bits of masks whose shares (L, H, W) are above their thresholds, (H, W) uint8."""
    bits = torch.zeros(shares.shape[1:], dtype=torch.uint8, device=shares.device)
    for bit, (share, least) in enumerate(zip(shares, thresholds, strict=True)):
        bits |= (share > least).to(torch.uint8) << bit
    return bits


def sureness(shares: Tensor) -> Tensor:
    """The least of |2·share − 1| of masks (L, H, W)."""
    return (2 * shares - 1).abs().amin(dim=0)
