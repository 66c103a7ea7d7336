"""Slices and slabs of a volume: the 2.5D input of every network.

A plane's slices run along its axis of (X, Y, Z); a slice's own axes (H, W) are the other two in order, so an
axial slice is (X, Y), a coronal one (X, Z), a sagittal one (Y, Z).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.preprocess.intensity import NormalizedVolume


def slices(shape: tuple[int, int, int], plane: Plane) -> int:
    """The number of slices of a volume of ``shape`` (X, Y, Z)."""
    return shape[PLANE_AXIS[plane]]


def slice_shape(shape: tuple[int, int, int], plane: Plane) -> tuple[int, int]:
    """The size (H, W) of each slice of a volume of ``shape`` (X, Y, Z)."""
    height, width = (n for axis, n in enumerate(shape) if axis != PLANE_AXIS[plane])
    return height, width


def plane_view(array: Array, plane: Plane) -> Array:
    """An array (X, Y, Z) seen as (slices, H, W); a view, so that writing to it writes to the array."""
    return np.moveaxis(array, PLANE_AXIS[plane], 0)


def read_slab(ready: NormalizedVolume, plane: Plane, index: int, depth: int) -> npt.NDArray[np.float32]:
    """The slices around ``index`` as a network's input: scaled float32 (C·D, H, W).

    Channel c's slice at offset o from the middle is row c·D + D//2 + o. Beyond the volume's ends the edge
    slice is repeated. Only the slices needed are read. Raises KEYWORD_INVALID for an even depth.
    """
    if depth < 1 or depth % 2 == 0:
        raise MedsegError(
            Code.KEYWORD_INVALID, "depth", str(depth), "give an odd number of slices, 1 or more"
        )
    stack = np.moveaxis(ready.array, PLANE_AXIS[plane] + 1, 1)
    if not 0 <= index < stack.shape[1]:
        raise IndexError(f"slice {index} of {stack.shape[1]}")
    wanted = np.clip(np.arange(depth) + index - depth // 2, 0, stack.shape[1] - 1)
    slab = ready.normalise(stack[:, wanted])
    return slab.reshape(-1, *slab.shape[2:])
