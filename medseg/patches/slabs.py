"""Slices and slabs of a volume: the 2.5D input of every network.

A plane's slices run along its axis of (X, Y, Z); a slice's own axes (H, W) are the other two in order, so an
axial slice is (X, Y), a coronal one (X, Z), a sagittal one (Y, Z). In a scan X runs from left to right, Y
from posterior to anterior, Z from inferior to superior (RAS+); an image is (rows, columns, 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Grid, Plane

if TYPE_CHECKING:  # readers of recipes take the names of flips from here, and need no SimpleITK
    from medseg.preprocess.intensity import NormalizedVolume

Flip = Literal["left_right", "anterior_posterior", "superior_inferior", "horizontal", "vertical"]
"""Directions in which a slice may be mirrored: three of scans, two of images."""

FLIP_AXIS: dict[Flip, int] = {
    "left_right": 0,
    "anterior_posterior": 1,
    "superior_inferior": 2,
    "vertical": 0,
    "horizontal": 1,
}
"""The axis of (X, Y, Z) that each flip reverses; an image's rows run along X, its columns along Y."""

IMAGE_FLIPS: tuple[Flip, ...] = ("horizontal", "vertical")
SCAN_FLIPS: tuple[Flip, ...] = ("left_right", "anterior_posterior", "superior_inferior")

_SQUARE = 1e-3
"""Pixels whose sides differ by less than this part are square: affines hold rounded numbers."""


def slices(shape: tuple[int, int, int], plane: Plane) -> int:
    """Number of slices of a volume of ``shape`` (X, Y, Z)."""
    return shape[PLANE_AXIS[plane]]


def slice_shape(shape: tuple[int, int, int], plane: Plane) -> tuple[int, int]:
    """Size (H, W) of each slice of a volume of ``shape`` (X, Y, Z)."""
    height, width = (shape[axis] for axis in slice_axes(plane))
    return height, width


def slice_axes(plane: Plane) -> tuple[int, int]:
    """Axes of (X, Y, Z) along which the rows' index H and the columns' index W of a slice run."""
    first, second = (axis for axis in range(3) if axis != PLANE_AXIS[plane])
    return first, second


def flip_axis(flip: Flip, plane: Plane) -> Literal["h", "w"] | None:
    """Slice axis that a flip reverses in a plane; None where it would run across the slices."""
    axes = slice_axes(plane)
    if FLIP_AXIS[flip] not in axes:
        return None
    return "h" if FLIP_AXIS[flip] == axes[0] else "w"


def pixel_shape(grid: Grid, plane: Plane) -> tuple[float, float]:
    """Height and width of a slice's pixels in units of the shorter side; (1, 1) for square pixels."""
    height, width = (grid.spacing[axis] for axis in slice_axes(plane))
    if abs(height - width) <= _SQUARE * min(height, width):
        return 1.0, 1.0
    return height / min(height, width), width / min(height, width)


def plane_view(array: Array, plane: Plane) -> Array:
    """View an array (X, Y, Z) as (slices, H, W); writing to it writes to the array."""
    return np.moveaxis(array, PLANE_AXIS[plane], 0)


def read_slab(volume: NormalizedVolume, plane: Plane, index: int, depth: int) -> npt.NDArray[np.float32]:
    """Read the slices around ``index`` as a network's input: scaled float32 (C·D, H, W).

    Channel c's slice at offset o from the middle is row c·D + D//2 + o. Beyond the volume's ends the edge
    slice is repeated. Only the slices needed are read. Raises KEYWORD_INVALID for an even depth.
    """
    if depth < 1 or depth % 2 == 0:
        raise MedsegError(
            Code.KEYWORD_INVALID, "depth", str(depth), "give an odd number of slices, 1 or more"
        )
    stack = np.moveaxis(volume.array, PLANE_AXIS[plane] + 1, 1)
    if not 0 <= index < stack.shape[1]:
        raise IndexError(f"slice {index} of {stack.shape[1]}")
    indices = np.clip(np.arange(depth) + index - depth // 2, 0, stack.shape[1] - 1)
    slab = volume.normalise(stack[:, indices])
    return slab.reshape(-1, *slab.shape[2:])
