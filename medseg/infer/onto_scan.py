"""Class scores of a model's grid on the grid of the scan, slice by slice: interpolated first, decided after.

Where a scan was resampled for its model, labels of the nearest voxel would show the model's voxels as steps.
So logits, mean probabilities or shares of votes are interpolated, linearly along each axis, and a class is
chosen for each voxel of the scan. Two slices are enough for that: memory holds those, never classes × volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.patches.slabs import plane_view, slice_axes
from medseg.preprocess.geometry import Record, Taps, undo_taps

_LEAST = math.log(np.finfo(np.float32).tiny)
"""Logarithm, or logit, of a probability of 0 where logits are interpolated."""


class ScoreResampler:
    """Interpolator of scores, which come slice by slice along a plane of a record's box."""

    def __init__(self, record: Record, plane: Plane) -> None:
        self._record, self._plane = record, plane
        taps = undo_taps(record)
        self._across = taps[PLANE_AXIS[plane]]
        self._rows, self._columns = (taps[axis] for axis in slice_axes(plane))
        self._along_rows, self._along_columns = _Along(self._rows, 1), _Along(self._columns, 2)

    def place(self, array: Array) -> Array:
        """View the part of an array (X, Y, Z) on the scan's grid that gets scores as (slices, H, W)."""
        region = (slice(t.onto.start, t.onto.stop) for t in (self._across, self._rows, self._columns))
        return plane_view(self._record.in_ras(array), self._plane)[tuple(region)]

    def __call__(self, scores: Iterator[Tensor]) -> Iterator[Tensor]:
        """Scores (K, H, W) float32 of every slice of the box → those of every slice of :meth:`place`.

        They stay on their device, and are not to be changed: the next may be made of them. All of ``scores``
        are read, whether they are needed or not.
        """
        slices = enumerate(scores)
        known: dict[int, Tensor] = {}
        for taps, shares in zip(self._across.taps, self._across.shares, strict=True):
            used = {int(tap): float(share) for tap, share in zip(taps, shares, strict=True) if share}
            known = {index: resized for index, resized in known.items() if index >= min(used)}
            while max(used) > max(known, default=-1):
                index, one = next(slices)
                if index >= min(used):
                    known[index] = self._in_plane(one)
            yield _weighted([known[tap] for tap in used], list(used.values()))
        for _ in slices:  # beyond the scan: nothing is asked for, but the network has them to check
            pass

    def _in_plane(self, scores: Tensor) -> Tensor:
        finite = scores.nan_to_num(neginf=_LEAST, posinf=-_LEAST)
        return self._along_columns(self._along_rows(finite))


class _Along:
    """Interpolation of scores (K, H, W) along one of their axes, 1 or 2."""

    def __init__(self, taps: Taps, axis: int) -> None:
        self._axis = axis
        pairs = zip(taps.taps.T, taps.shares.T, strict=True)
        used = [(tap, share) for tap, share in pairs if share.any() or not share.size]
        self._taps = [torch.from_numpy(np.ascontiguousarray(tap)) for tap, _ in used]
        self._shares = [torch.from_numpy(share.astype(np.float32)) for _, share in used]

    def __call__(self, scores: Tensor) -> Tensor:
        total: Tensor | None = None
        for tap, share in zip(self._taps, self._shares, strict=True):
            picked, weight = self._picked(scores, tap), share.to(scores.device)
            weight = weight[:, None] if self._axis == 1 else weight
            total = picked.mul_(weight) if total is None else total.addcmul_(picked, weight)
        return scores if total is None else total

    def _picked(self, scores: Tensor, tap: Tensor) -> Tensor:
        tap = tap.to(scores.device)
        if self._axis == 1:
            return scores.index_select(1, tap)
        return scores.gather(2, tap.expand(*scores.shape[:2], -1))  # many times as fast as index_select here


def _weighted(slices: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The sum of slices, each times its share; a single one as it is."""
    if len(slices) == 2:
        return torch.lerp(slices[0], slices[1], shares[1])
    total = slices[0] * shares[0] if len(slices) > 1 else slices[0]
    for one, share in zip(slices[1:], shares[1:], strict=True):
        total.add_(one, alpha=share)
    return total
