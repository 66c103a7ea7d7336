"""Objects that touch, as a training target: their numbers beside the label, and background between them.

U-Net (Ronneberger et al. 2015) learns cells as one class and the thin background between them, so that the
cells of a prediction are its connected components. Where two objects of a label touch, the pixels of both
that have one of the other among their eight neighbours become background: a border of two pixels, one of
each object. It is made on label maps by preprocessing, and made anew on patches that augmentation has turned,
scaled or bent, from the numbers that were moved along: a border that is moved itself tears.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg.classes import VOID
from medseg.grid import PLANE_AXIS, Array, Plane

NAME = "instances"
"""Its name among a prepared case's extra arrays."""

_MOST = np.iinfo(np.uint16).max


def separated(label: Array, numbers: Array, plane: Plane) -> npt.NDArray[np.uint8]:
    """A copy of class indices (X, Y, Z) uint8 with background where objects touch in slices of ``plane``.

    ``numbers`` (X, Y, Z) are those of the objects, 0 for none. Void (255) stays.
    """
    border = touching(numbers, plane) & (label != VOID)
    return np.where(border, 0, label).astype(np.uint8)


def touching(numbers: Array, plane: Plane) -> npt.NDArray[np.bool_]:
    """Pixels (X, Y, Z) of an object that have one of another among their eight neighbours in the slice."""
    from scipy import ndimage  # here, as every worker imports this module, and this takes 0.1 s

    size = [3, 3, 3]
    size[PLANE_AXIS[plane]] = 1
    wide = numbers.astype(np.uint16)
    highest = ndimage.maximum_filter(wide, size)
    lowest = ndimage.minimum_filter(np.where(wide == 0, _MOST, wide), size)
    return np.asarray((wide > 0) & (highest != lowest))


def stored(numbers: Array) -> Array:
    """The numbers in the smallest type of unsigned integers that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))), order="F")
