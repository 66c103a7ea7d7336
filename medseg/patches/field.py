"""Pieces of slabs and of label maps, at places that may lie beyond the slice: what is outside is mirrored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.patches.slabs import plane_view
from medseg.preprocess.intensity import NormalizedVolume

Pair = tuple[int, int]
Index = npt.NDArray[np.intp]


def read_field(
    volume: NormalizedVolume, plane: Plane, index: int, depth: int, first: Pair, size: Pair
) -> npt.NDArray[np.float32]:
    """Read a piece of a slab, scaled float32 (C·D, h', w'), its channels as in ``read_slab``.

    ``first`` is its row and column in the slice and may be negative: what lies outside the slice is
    mirrored. Only the piece is read.
    """
    stack = np.moveaxis(volume.array, PLANE_AXIS[plane] + 1, 1)
    across = np.clip(np.arange(depth) + index - depth // 2, 0, stack.shape[1] - 1)
    inside = [mirrored_index(*axis) for axis in zip(first, size, stack.shape[2:], strict=True)]
    piece = volume.normalise(_gather(stack, across, *inside))
    return piece.reshape(-1, *size)


def read_label_field(label: Array, plane: Plane, index: int, first: Pair, size: Pair) -> Array:
    """Read the same piece of a label map or weight map (X, Y, Z): (h', w') of its dtype."""
    stack = plane_view(label, plane)
    inside = [mirrored_index(*axis) for axis in zip(first, size, stack.shape[1:], strict=True)]
    piece: Array = _gather(stack, np.array([index]), *inside)[0]
    return piece


def mirrored_index(first: int, length: int, size: int) -> Index:
    """Pixels of an axis of ``size`` at first, first + 1, …: mirrored outside, the edge pixel not repeated."""
    if size == 1:
        return np.zeros(length, np.intp)
    period = 2 * (size - 1)
    there_and_back = np.arange(first, first + length) % period
    return np.minimum(there_and_back, period - there_and_back)


def lies_inside(first: Pair, size: Pair, shape: Pair) -> npt.NDArray[np.bool_]:
    """Mask (h', w') of the pixels of a piece that are pixels of a slice of ``shape``."""
    rows, columns = (np.arange(start, start + n) for start, n in zip(first, size, strict=True))
    return np.outer((rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1]))


def _gather(array: Array, *indices: Index) -> Array:
    """Pick along the last three axes; only the box that holds every index is touched. A copy."""
    lows = [int(i.min()) for i in indices]
    a, b, c = (slice(low, int(i.max()) + 1) for low, i in zip(lows, indices, strict=True))
    inside = np.ix_(*(i - low for low, i in zip(lows, indices, strict=True)))
    return array[..., a, b, c][..., inside[0], inside[1], inside[2]]
