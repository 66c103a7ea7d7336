"""Planes, and grids (shape and affine), on which voxels lie. Immutable, without input or output."""

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
    """Give one plane or several as a tuple. Raises ValueError for none, one twice, or an unknown name."""
    planes: tuple[Plane, ...] = (plane,) if isinstance(plane, str) else tuple(plane)
    if unknown := [name for name in planes if name not in PLANE_AXIS]:
        raise ValueError(f"{unknown[0]!r} is no plane; name some of {', '.join(sorted(PLANE_AXIS))}")
    if not planes or len(set(planes)) < len(planes):
        raise ValueError("name each plane once, and at least one")
    return planes


NOUNS = {"mm": "scan", "px": "image"}
"""Nouns for what is segmented, by the unit of its grid."""

SAME_GRID_MM = 0.1


@dataclass(frozen=True, eq=False)
class Grid:
    """An array's place: ``shape`` (X, Y, Z) and ``affine`` (4, 4) from voxel index to RAS+ in ``unit``."""

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
        """Volume of a voxel in mm³, or area of a pixel in px."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def corners(self) -> Array:
        """Give the positions of the eight corner voxels' centres, (8, 3) float64 in :attr:`unit`."""
        ends = np.array(list(product(*[(0, n - 1) for n in self.shape])), dtype=np.float64)
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]


def corner_distance(a: Grid, b: Grid) -> float:
    """Give the largest distance between corresponding corner voxels, in the grids' unit."""
    return float(np.linalg.norm(a.corners() - b.corners(), axis=1).max())


def same_grid(a: Grid, b: Grid, tolerance: float = SAME_GRID_MM) -> bool:
    """Tell whether both have one shape and all eight corner voxels within ``tolerance`` (mm or px)."""
    return a.shape == b.shape and a.unit == b.unit and corner_distance(a, b) <= tolerance


AxisOrder = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""For each axis of the wanted grid: the axis of the array that runs along it, and its sense (1 or -1)."""


def axis_order(grid: Grid, wanted: Grid, tolerance: float = SAME_GRID_MM) -> AxisOrder | None:
    """Give the order and senses in which the axes of ``grid`` make it the same grid as ``wanted``.

    None where no order does: the two differ by more than the way their voxels are stored.
    """
    order = nearest_axis_order(grid, wanted)
    return order if order and same_grid(reorder_grid(grid, order), wanted, tolerance) else None


def nearest_axis_order(grid: Grid, wanted: Grid) -> AxisOrder | None:
    """Give the order and senses in which the axes of ``grid`` run as those of ``wanted``, wherever they lie.

    None where no order gives the wanted shape, or the axes run between those of the other.
    """
    if sorted(grid.shape) != sorted(wanted.shape) or grid.unit != wanted.unit:
        return None
    try:
        steps = np.linalg.solve(grid.affine[:3, :3], wanted.affine[:3, :3])
    except np.linalg.LinAlgError:
        return None
    axes = np.abs(steps).argmax(axis=0)
    if len(set(axes.tolist())) < 3:
        return None
    senses = np.sign(steps[axes, range(3)])
    x, y, z = ((int(axis), int(sense)) for axis, sense in zip(axes, senses, strict=True))
    return (x, y, z) if reorder_grid(grid, (x, y, z)).shape == wanted.shape else None


def reorder_grid(grid: Grid, order: AxisOrder) -> Grid:
    """Give the grid of the array that :func:`reorder_axes` gives: the same voxels at the same places."""
    affine = grid.affine.copy()
    for i, (axis, sense) in enumerate(order):
        affine[:3, i] = sense * grid.affine[:3, axis]
        if sense < 0:
            affine[:3, 3] += grid.affine[:3, axis] * (grid.shape[axis] - 1)
    x, y, z = (grid.shape[axis] for axis, _ in order)
    return Grid((x, y, z), affine, grid.unit)


def reorder_axes(array: Array, order: AxisOrder) -> Array:
    """View an array (C, X, Y, Z) with its spatial axes in another order and sense."""
    ordered = array.transpose(0, *(axis + 1 for axis, _ in order))
    return ordered[(slice(None), *(slice(None, None, sense) for _, sense in order))]


def centre_crop(array: _T, size: Sequence[int]) -> _T:
    """Crop the middle (…, h, w) out of an array or tensor (…, H, W), as a view; ``size`` ends with h, w.

    Of an odd difference the larger part is cut off at the end.
    """
    cropped: Any = array
    height, width = size[-2:]
    top, left = (cropped.shape[-2] - height) // 2, (cropped.shape[-1] - width) // 2
    view: _T = cropped[..., top : top + height, left : left + width]
    return view
