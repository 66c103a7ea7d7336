"""Where voxels lie: planes, and grids (shape and affine). Immutable, without input or output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_T = TypeVar("_T")

Plane = Literal["axial", "coronal", "sagittal"]


PLANE_AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


"""The spatial axis (of X, Y, Z in RAS+) that runs across the slices of each plane."""


def planes_of(plane: Plane | Sequence[Plane]) -> tuple[Plane, ...]:
    """One plane or several, as a tuple. Raises ValueError for none, one twice, or a name that is no plane."""
    planes: tuple[Plane, ...] = (plane,) if isinstance(plane, str) else tuple(plane)
    if unknown := [name for name in planes if name not in PLANE_AXIS]:
        raise ValueError(f"{unknown[0]!r} is no plane; name some of {', '.join(sorted(PLANE_AXIS))}")
    if not planes or len(set(planes)) < len(planes):
        raise ValueError("name each plane once, and at least one")
    return planes


def left_right_axis(plane: Plane, unit: str = "mm") -> int | None:
    """The axis of a slice (…, H, W) that runs from left to right, -2 or -1; None where there is none.

    In scans (mm) it is H of axial slices (X, Y) and coronal ones (X, Z), and sagittal slices have none; in
    images (px), whose rows are H, it is W.
    """
    if unit == "px":
        return -1
    return None if plane == "sagittal" else -2


NOUNS = {"mm": "scan", "px": "image"}
"""Nouns for what is segmented, by the unit of its grid."""

SAME_GRID_MM = 0.1


@dataclass(frozen=True, eq=False)
class Grid:
    """Where an array lies: ``shape`` (X, Y, Z) and ``affine`` (4, 4) from voxel index to RAS+ in ``unit``."""

    shape: tuple[int, int, int]
    affine: Array
    unit: Literal["mm", "px"] = "mm"

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths along X, Y, Z in :attr:`unit`."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def voxel_size(self) -> float:
        """A voxel's volume in mm³, or a pixel's area in px."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def corners(self) -> Array:
        """Positions of the eight corner voxels' centres, (8, 3) float64 in :attr:`unit`."""
        ends = np.array(list(product(*[(0, n - 1) for n in self.shape])), dtype=np.float64)
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]


def corner_distance(a: Grid, b: Grid) -> float:
    """Largest distance between corresponding corner voxels, in the grids' unit."""
    return float(np.linalg.norm(a.corners() - b.corners(), axis=1).max())


def same_grid(a: Grid, b: Grid, tolerance: float = SAME_GRID_MM) -> bool:
    """Whether both have one shape and all eight corner voxels within ``tolerance`` (mm or px)."""
    return a.shape == b.shape and a.unit == b.unit and corner_distance(a, b) <= tolerance


def centre_crop(array: _T, size: Sequence[int]) -> _T:
    """Crop the middle (…, h, w) out of an array or tensor (…, H, W), as a view; ``size`` ends with h, w.

    Of an odd difference the larger part is cut off at the end.
    """
    cropped: Any = array
    height, width = size[-2:]
    top, left = (cropped.shape[-2] - height) // 2, (cropped.shape[-1] - width) // 2
    view: _T = cropped[..., top : top + height, left : left + width]
    return view
