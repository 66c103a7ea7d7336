"""Stitching rules: accumulators with two verbs, ``add`` and ``result``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medseg.infer.decide import highest, lead, one_hot
from medseg.patches.windows import Block, Pair, Starts


class VoteStitcher:
    """Majority vote of the windows that cover a slice (H, W): each label adds 1 to its class at its pixel.

    Windows come in blocks of a covering grid. Most votes win; a tie goes to the lowest class index; what
    windows say beyond the slice (where it was mirrored up to the window) is not counted.

    Votes are counted where the labels are, as small integers. A block's rows of windows are added first, as
    their pixels lie together in memory, then the sums of its columns.
    """

    def __init__(
        self, shape: Pair, window: Pair, stride: Pair, classes: int, device: str | torch.device = "cpu"
    ) -> None:
        self._shape, self._window = shape, window
        height, width = (max(n, w) for n, w in zip(shape, window, strict=True))
        counter = _counter(window, stride)
        self._votes = torch.zeros(classes, height, width, dtype=counter, device=device)

    def add(self, labels: Tensor, block: Block) -> None:
        """Count the votes of a block's windows: ``labels`` (N, h, w) uint8 class indices."""
        height, width = self._window
        classes, rows, columns = len(self._votes), len(block.rows), len(block.columns)
        said = one_hot(labels, classes).view(classes, rows, columns, height, width)
        top = block.rows[0]
        strips = self._votes.new_zeros(classes, columns, block.rows[-1] - top + height, width)
        sums, band, said = map(_in_place, (strips, self._votes[:, top : block.rows[-1] + height], said))
        for index, row in enumerate(block.rows):
            sums[:, :, row - top : row - top + height] += said[:, index]
        for index, column in enumerate(block.columns):
            band[:, :, column : column + width] += sums[:, index]

    def result(self) -> tuple[Tensor, Tensor]:
        """The winning class index (H, W) uint8, and the confidence (H, W): (first - second) / all votes."""
        votes = self._inside()
        return highest(votes), lead(votes) / _total(votes)

    def shares(self) -> Tensor:
        """Each class's share of the votes, (K, H, W): what voting windows have in place of probabilities."""
        votes = self._inside()
        return votes / _total(votes)

    def _inside(self) -> Tensor:
        """Votes (K, H, W) without what lies beyond the slice."""
        return self._votes[:, : self._shape[0], : self._shape[1]]


class MultilabelVoteStitcher:
    """Majority vote of windows for each of overlapping masks, outside against inside; a tie is outside."""

    def __init__(
        self, shape: Pair, window: Pair, stride: Pair, masks: int, device: str | torch.device = "cpu"
    ) -> None:
        self._of_masks = [VoteStitcher(shape, window, stride, 2, device) for _ in range(masks)]

    def add(self, labels: Tensor, block: Block) -> None:
        """Count the votes of a block's windows: ``labels`` (N, h, w) uint8 bits of masks."""
        for bit, stitcher in enumerate(self._of_masks):
            stitcher.add(labels >> bit & 1, block)

    def result(self) -> tuple[Tensor, Tensor]:
        """The bits of masks (H, W) uint8, and the least of the masks' confidences (H, W)."""
        inside, confidences = zip(*(stitcher.result() for stitcher in self._of_masks), strict=True)
        bits = [one << bit for bit, one in enumerate(inside)]
        return torch.stack(bits).sum(dim=0, dtype=torch.uint8), torch.stack(confidences).amin(dim=0)

    def shares(self) -> Tensor:
        """Each mask's share of the votes, (L, H, W): what voting windows have in place of probabilities."""
        return torch.stack([stitcher.shares()[1] for stitcher in self._of_masks])


def _in_place(tensor: Tensor) -> Any:
    """The same memory, to add to: of the CPU as an array, as numpy adds bytes faster than torch."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def _total(votes: Tensor) -> Tensor:
    """All votes (H, W) of (K, H, W): no more than what counts each class's can hold."""
    total = votes[0].clone()
    for one in votes[1:]:
        total += one
    return total


def _counter(window: Pair, stride: Pair) -> torch.dtype:
    """The smallest integer that holds the most votes a pixel can get.

    A regular grid puts ⌈w/s⌉ windows over a pixel along each axis, and the one moved back adds another.
    """
    most = math.prod(-(-w // s) + 1 for w, s in zip(window, stride, strict=True))
    return next(t for t in (torch.uint8, torch.int16, torch.int32) if most <= torch.iinfo(t).max)


class TileStitcher:
    """Outputs of a network put side by side on one slice (H, W), for tiles that agree where they overlap.

    What reaches beyond the slice (where it was mirrored) is cut off.
    """

    def __init__(self, shape: Pair, classes: int, device: str | torch.device = "cpu") -> None:
        self._logits = torch.full((classes, *shape), torch.nan, device=device)

    def add(self, logits: Tensor, starts: Starts) -> None:
        """Put logits (N, K, h, w) at ``starts`` (N, 2) row, column."""
        height, width = self._logits.shape[1:]
        for tile, (row, column) in zip(logits, starts.tolist(), strict=True):
            inside = tile[:, : height - row, : width - column]
            self._logits[:, row : row + tile.shape[1], column : column + tile.shape[2]] = inside

    def result(self) -> Tensor:
        """Logits (K, H, W) float32; NaN where no tile was put."""
        return self._logits


class GaussianStitcher:
    """Probabilities of windows over one slice (H, W), each weighted by a Gaussian around its centre.

    The standard deviation is an eighth of the window along each axis. What windows say beyond the slice
    (where it was mirrored up to the window) is cut off. With ``multilabel`` the classes are masks whose
    probabilities are sigmoids.
    """

    def __init__(
        self,
        shape: Pair,
        window: Pair,
        classes: int,
        *,
        multilabel: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        self._shape = shape
        self._multilabel = multilabel
        self._weight = gaussian(window).to(device)
        canvas = [max(n, w) for n, w in zip(shape, window, strict=True)]
        self._sums = torch.zeros(classes, *canvas, device=device)
        self._weights = torch.zeros(*canvas, device=device)

    def add(self, logits: Tensor, starts: Starts) -> None:
        """Add the probabilities of logits (N, K, h, w) at ``starts`` (N, 2) row, column."""
        height, width = self._weight.shape
        probabilities = logits.sigmoid() if self._multilabel else logits.softmax(dim=1)
        weighted = probabilities * self._weight
        for window, (row, column) in zip(weighted, starts.tolist(), strict=True):
            self._sums[:, row : row + height, column : column + width] += window
            self._weights[row : row + height, column : column + width] += self._weight

    def result(self) -> Tensor:
        """The log (or logit) of the weighted mean probabilities, (K, H, W) float32: logits like any other."""
        height, width = self._shape
        means = (self._sums / self._weights)[:, :height, :width]
        return means.clamp(0, 1).logit() if self._multilabel else means.log()


def gaussian(window: Pair) -> Tensor:
    """Weights (h, w) float32 of a window's pixels: 1 at its centre, σ an eighth of each side."""
    rows, columns = (torch.exp(-((torch.arange(n) - (n - 1) / 2) ** 2) / (2 * (n / 8) ** 2)) for n in window)
    return rows[:, None] * columns[None, :]
