"""Confidence by class, counted while slices are decided: no map of it has to be kept for that."""

from __future__ import annotations

import numpy as np

from medseg.grid import Array

DOUBTFUL = 0.5
"""A voxel is in doubt below this confidence."""


class ConfidenceTally:
    """Sums of the confidence over each label's voxels; ``labels`` is their number, or that of masks.

    Labels below ``first`` are not looked at.
    """

    def __init__(self, labels: int, *, masks: bool, first: int = 1) -> None:
        self._masks, self._first = masks, first
        self._counts = np.zeros(labels, np.int64)
        self._doubtful = np.zeros(labels, np.int64)
        self._sums = np.zeros(labels, np.float64)

    def add(self, labels: Array, confidence: Array) -> None:
        """Count a slice: labels (H, W) uint8, indices or bits of masks, and confidence (H, W) float32."""
        if not self._masks:
            inside = labels >= self._first
            if not inside.any():
                return
            # Most of a slice is background, which no figure needs.
            self._add(labels[inside], confidence[inside])
            return
        for bit in range(len(self._counts)):
            chosen = confidence[(labels >> bit & 1) == 1]
            self._add(np.full(len(chosen), bit), chosen)

    def _add(self, labels: Array, confidence: Array) -> None:
        size = len(self._counts)
        self._counts += np.bincount(labels, minlength=size)
        self._doubtful += np.bincount(labels[confidence < DOUBTFUL], minlength=size)
        self._sums += np.bincount(labels, weights=confidence, minlength=size)

    def signs(self) -> list[dict[str, float]]:
        """Give each label's 1 − mean confidence, and its share of voxels in doubt; 1 without any voxel."""
        counts = np.maximum(self._counts, 1)
        present = self._counts > 0
        unsure = np.where(present, 1 - self._sums / counts, 1.0)
        doubtful = np.where(present, self._doubtful / counts, 1.0)
        return [{"unsure": float(u), "doubtful": float(d)} for u, d in zip(unsure, doubtful, strict=True)]
