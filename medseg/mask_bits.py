"""Overlapping masks as bits of one byte: bit l of a voxel's byte says whether mask l holds it, 255 is void.

So they are sampled, cut, flipped, resampled to the nearest and stored as one label map is. At the border of
the program they are label maps (L, X, Y, Z) of 0 and 1, each in a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from medseg.classes import VOID, ClassList
from medseg.grid import Array


def pack_masks(masks: Iterable[Array]) -> npt.NDArray[np.uint8]:
    """Pack overlapping masks of 0, 1 and 255 (void), each (X, Y, Z), into one uint8 array: bit l is mask l.

    A voxel that is void in one mask is void in all. There are at most ``MOST_MASKS``.
    """
    packed: npt.NDArray[np.uint8] | None = None
    void: Array = np.zeros((), bool)
    for bit, mask in enumerate(masks):
        packed = np.zeros_like(mask, np.uint8) if packed is None else packed
        packed |= np.left_shift(mask == 1, bit, dtype=np.uint8)
        void = void | (mask == VOID)
    if packed is None:
        raise ValueError("there is no mask to pack")
    packed[void] = VOID
    return packed


def unpack_masks(packed: Array, count: int) -> npt.NDArray[np.uint8]:
    """Undo :func:`pack_masks`: (X, Y, Z) uint8 → (L, X, Y, Z) uint8 of 0, 1 and 255 (void), L = ``count``."""
    masks = np.moveaxis(np.empty((*packed.shape, count), np.uint8, order="F"), -1, 0)
    for bit, mask in enumerate(masks):
        mask[...] = packed >> bit & 1
        mask[packed == VOID] = VOID
    return masks


def to_maps(indices: Array, classes: ClassList) -> Array:
    """Turn indices (X, Y, Z) uint8 into label maps as files hold them, (L, X, Y, Z): one, or one per mask."""
    return unpack_masks(indices, len(classes)) if classes.multilabel else classes.to_values(indices)[None]
