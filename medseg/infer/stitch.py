"""Stitching rules: accumulators with two verbs, ``add`` and ``result``."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

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
        """The winning class index (H, W) uint8, and the margin (H, W): (first - second) / all votes."""
        votes = self._votes[: self._shape[0], : self._shape[1]]
        ordered = np.partition(votes, self._classes - 2, axis=-1)
        lead = ordered[..., -1] - ordered[..., -2]
        cast = votes.sum(axis=-1, dtype=np.float32)
        return votes.argmax(axis=-1).astype(np.uint8), (lead / cast).astype(np.float32, copy=False)


def _counter(window: Pair, stride: Pair) -> np.dtype[np.unsignedinteger[npt.NBitBase]]:
    """The smallest unsigned integer that holds the most votes a pixel can get.

    A regular grid puts ⌈w/s⌉ windows over a pixel along each axis, and the one moved back adds another.
    """
    most = math.prod(-(-w // s) + 1 for w, s in zip(window, stride, strict=True))
    return np.min_scalar_type(most)
