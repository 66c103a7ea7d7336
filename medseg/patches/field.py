"""Pieces of slabs and of label maps, at places that may lie beyond the slice: what is outside is mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.preprocess.intensity import NormalizedVolume

Pair = tuple[int, int]
Index = npt.NDArray[np.intp]


def read_field(
    volume: NormalizedVolume,
    plane: Plane,
    index: int,
    depth: int,
    first: Pair,
    size: Pair,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Read a piece of a slab, scaled float32 (C·D, h', w'), its channels as in ``read_slab``; into ``out``.

    ``first`` is its row and column in the slice and may be negative: what lies outside the slice is
    mirrored. Only the piece is read.
    """
    piece = slab_piece(stack_view(volume.array, plane), index, depth, first, size)
    if out is None:
        out = np.empty((len(volume.array) * depth, *size), np.float32)
    volume.normalise(piece, out.reshape(-1, depth, *size))
    return out


def stack_view(array: Array, plane: Plane) -> Array:
    """View the array (C, X, Y, Z) of a volume as (C, slices, H, W)."""
    return np.moveaxis(np.asarray(array), PLANE_AXIS[plane] + 1, 1)


def slab_piece(stack: Array, index: int, depth: int, first: Pair, size: Pair) -> Array:
    """Pick a piece of a slab from ``stack`` (C, slices, H, W): (C, D, h', w') of its dtype, maybe a view.

    It is what :func:`read_field` scales.
    """
    across = _pixels(index - depth // 2, depth, stack.shape[1])
    if not isinstance(across, slice):
        across = np.clip(np.arange(depth) + index - depth // 2, 0, stack.shape[1] - 1)
    inside = (_pixels(*axis) for axis in zip(first, size, stack.shape[2:], strict=True))
    return _gather(stack, across, *inside)


def slice_piece(slices: Array, index: int, first: Pair, size: Pair) -> Array:
    """Pick the same piece of a label or weight map (slices, H, W): (h', w') of its dtype, maybe a view."""
    image = slices[index]
    inside = (_pixels(*axis) for axis in zip(first, size, image.shape, strict=True))
    return _gather(image, *inside)


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


def _pixels(first: int, length: int, size: int) -> slice | Index:
    """Pixels of an axis as :func:`mirrored_index` gives them; a slice where all of them exist."""
    if first >= 0 and first + length <= size:
        return slice(first, first + length)
    return mirrored_index(first, length, size)


def _gather(array: Array, *indices: slice | Index) -> Array:
    """Pick along the last axes; only the box that holds every index is touched. A view where all are slices.

    Numpy takes single indices one by one, which is 36 times as slow as a slice.
    """
    if all(isinstance(index, slice) for index in indices):
        whole: Array = array[(..., *indices)]
        return whole
    lows = [index.start if isinstance(index, slice) else int(index.min()) for index in indices]
    ends = [index.stop if isinstance(index, slice) else int(index.max()) + 1 for index in indices]
    inside: tuple[Any, ...] = (..., *map(slice, lows, ends))
    box: Array = array[inside]
    for axis, (index, low) in enumerate(zip(indices, lows, strict=True), -len(indices)):
        if not isinstance(index, slice):
            box = box.take(index - low, axis)
    return box
