"""Images from one pixel size to another: area averages where they shrink, bilinear where they grow.

Rows and columns are separate. Along an axis whose pixels become larger, a new pixel is the mean of the old
ones weighted by how much of each it covers; what would lie beyond the image is left out. Along one whose
pixels become smaller (or stay), it is read between the two nearest centres, edge pixels going on outside.
Integers stay integers of their type: rounded, halves to the even neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.grid import Array, Grid

_EQUAL = 1e-9


class Resize:
    """Resampler of slices (H, W) of one grid to those of another with the same axes and centre."""

    def __init__(self, source: Grid, target: Grid) -> None:
        self._rows, self._columns = (_weights(axis, source, target) for axis in (0, 1))

    def __call__(self, plane: Array) -> npt.NDArray[np.float64]:
        """Resample numbers (H, W) of any dtype to (H', W') float64."""
        resized: npt.NDArray[np.float64] = (self._columns @ (self._rows @ plane).T).T
        return resized


def resample(array: Array, source: Grid, target: Grid) -> Array:
    """Resample an image (C, X, Y, Z) to another grid of as many slices, in its own dtype."""
    resize = Resize(source, target)
    out = np.empty((len(array), *target.shape), array.dtype)
    integers = np.issubdtype(array.dtype, np.integer)
    for channel, z in np.ndindex(len(array), array.shape[3]):
        values = resize(array[channel, :, :, z])
        out[channel, :, :, z] = np.rint(values) if integers else values
    return out


def _weights(axis: int, source: Grid, target: Grid) -> Any:
    """Give each old pixel's share in each new one along an axis: sparse (new, old), rows sum to 1."""
    import scipy.sparse  # here, as every command imports this module

    old, new = source.shape[axis], target.shape[axis]
    factor = target.spacing[axis] / source.spacing[axis]
    indices, shares = taps((np.arange(new) - (new - 1) / 2) * factor + (old - 1) / 2, factor, old)
    starts = np.arange(new + 1) * indices.shape[1]
    return scipy.sparse.csr_matrix((shares.ravel(), indices.ravel(), starts), shape=(new, old))


def taps(centre: Array, factor: float, old: int) -> tuple[Array, Array]:
    """Give the indices (new, k) of the ``old`` pixels that make each new one, and their shares (new, k).

    ``centre`` (new,) are the new pixels' places, ``factor`` is their distance, both in old pixels.
    """
    return _covered(centre, factor, old) if factor > 1 + _EQUAL else _between(centre, old)


def _covered(centre: Array, factor: float, old: int) -> tuple[Array, Array]:
    """Give the old pixels (new, k) under each new one of ``factor`` px, and the part of it that each is."""
    first = np.floor(centre - factor / 2 + 0.5).astype(np.intp)
    taps = first[:, None] + np.arange(int(np.ceil(factor)) + 1)
    right = np.minimum(centre[:, None] + factor / 2, taps + 0.5)
    left = np.maximum(centre[:, None] - factor / 2, taps - 0.5)
    covered = np.where((taps >= 0) & (taps < old), np.maximum(right - left, 0), 0)
    return taps.clip(0, old - 1), covered / covered.sum(axis=1, keepdims=True)


def _between(centre: Array, old: int) -> tuple[Array, Array]:
    """Give the two old pixels (new, 2) around each place, and their shares."""
    place = centre.clip(0, old - 1)
    lower = np.floor(place).astype(np.intp)
    upper_share = place - lower
    taps = np.stack([lower, np.minimum(lower + 1, old - 1)], axis=1)
    return taps, np.stack([1 - upper_share, upper_share], axis=1)
