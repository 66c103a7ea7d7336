"""Stitching rules: accumulators with two verbs, ``add`` and ``result``."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.mask_bits import pack_masks
from medseg.patches.windows import Pair, Starts


class VoteStitcher:
    """Majority vote of windows over one slice (H, W): each window's label adds 1 to its class at its pixels.

    Most votes win; a tie goes to the lowest class index; what windows say beyond the slice (where it was
    mirrored up to the window) is not counted.
    """

    def __init__(self, shape: Pair, window: Pair, stride: Pair, classes: int) -> None:
        self._shape = shape
        self._window = window
        self._classes = classes
        height, width = (max(n, w) for n, w in zip(shape, window, strict=True))
        self._votes = np.zeros((height, width, classes), dtype=_counter(window, stride))

    def add(self, labels: npt.NDArray[np.uint8], starts: Starts) -> None:
        """Count the votes of windows: ``labels`` (N, h, w) class indices; ``starts`` (N, 2) row, column."""
        height, width, classes = self._votes.shape
        rows, columns = (np.arange(n) for n in self._window)
        pixels = (rows[:, None] * width + columns) + (starts[:, :1, None] * width + starts[:, 1:, None])
        places = (pixels * classes + labels).ravel()
        counted = np.bincount(places, minlength=self._votes.size)
        self._votes += counted.reshape(height, width, classes).astype(self._votes.dtype)

    def result(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """The winning class index (H, W) uint8, and the confidence (H, W): (first - second) / all votes."""
        votes = self._votes[: self._shape[0], : self._shape[1]]
        ordered = np.partition(votes, self._classes - 2, axis=-1)
        lead = ordered[..., -1] - ordered[..., -2]
        cast = votes.sum(axis=-1, dtype=np.float32)
        return votes.argmax(axis=-1).astype(np.uint8), (lead / cast).astype(np.float32, copy=False)

    def shares(self) -> npt.NDArray[np.float32]:
        """Each class's share of the votes, (K, H, W): what voting windows have in place of probabilities."""
        votes = self._votes[: self._shape[0], : self._shape[1]]
        cast = votes.sum(axis=-1, dtype=np.float32, keepdims=True)
        shares: npt.NDArray[np.float32] = np.moveaxis(votes, -1, 0) / np.moveaxis(cast, -1, 0)
        return shares.astype(np.float32, copy=False)


class MultilabelVoteStitcher:
    """Majority vote of windows for each of overlapping masks, outside against inside; a tie is outside."""

    def __init__(self, shape: Pair, window: Pair, stride: Pair, masks: int) -> None:
        self._of_masks = [VoteStitcher(shape, window, stride, 2) for _ in range(masks)]

    def add(self, labels: npt.NDArray[np.uint8], starts: Starts) -> None:
        """Count the votes of windows: ``labels`` (N, h, w) bits of masks; ``starts`` (N, 2) row, column."""
        for bit, stitcher in enumerate(self._of_masks):
            stitcher.add((labels >> bit & 1).astype(np.uint8), starts)

    def result(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """The bits of masks (H, W) uint8, and the least of the masks' confidences (H, W)."""
        inside, confidences = zip(*(stitcher.result() for stitcher in self._of_masks), strict=True)
        return pack_masks(inside), np.minimum.reduce(confidences)

    def shares(self) -> npt.NDArray[np.float32]:
        """Each mask's share of the votes, (L, H, W): what voting windows have in place of probabilities."""
        return np.stack([stitcher.shares()[1] for stitcher in self._of_masks])


def _counter(window: Pair, stride: Pair) -> np.dtype[np.unsignedinteger[npt.NBitBase]]:
    """The smallest unsigned integer that holds the most votes a pixel can get.

    A regular grid puts ⌈w/s⌉ windows over a pixel along each axis, and the one moved back adds another.
    """
    most = math.prod(-(-w // s) + 1 for w, s in zip(window, stride, strict=True))
    return np.min_scalar_type(most)


class TileStitcher:
    """Outputs of a network put side by side on one slice (H, W), for tiles that agree where they overlap.

    What reaches beyond the slice (where it was mirrored) is cut off.
    """

    def __init__(self, shape: Pair, classes: int) -> None:
        self._logits = torch.full((classes, *shape), torch.nan)

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

    def __init__(self, shape: Pair, window: Pair, classes: int, *, multilabel: bool = False) -> None:
        self._shape = shape
        self._multilabel = multilabel
        self._weight = gaussian(window)
        canvas = [max(n, w) for n, w in zip(shape, window, strict=True)]
        self._sums = torch.zeros(classes, *canvas)
        self._weights = torch.zeros(*canvas)

    def add(self, logits: Tensor, starts: Starts) -> None:
        """Add the probabilities of logits (N, K, h, w) at ``starts`` (N, 2) row, column."""
        height, width = self._weight.shape
        probabilities = logits.sigmoid() if self._multilabel else logits.softmax(dim=1)
        weighted = probabilities.cpu() * self._weight
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
