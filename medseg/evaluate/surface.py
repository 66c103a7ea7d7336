"""Distances between the surfaces of two masks, in the unit of the spacing (mm, or px for images).

The surface of a mask is the mask minus its erosion by the face-connected neighbourhood; beyond the volume's
border is outside. A KD-tree over the surface voxels is exact and, as surfaces are sparse and mostly close,
faster than a distance transform of the box around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from medseg.grid import Array

# Headers store spacings as float32, so that a distance of one 1 mm voxel may read 1.00000006 mm.
_ROUNDING = 1 + 1e-5


def bounding_box(mask: Array, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box around the True voxels, grown by ``margin`` voxels within the array.

    ``mask`` is bool of any number of axes; an empty mask gives an empty box.
    """
    box = []
    for axis, length in enumerate(mask.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        held = np.flatnonzero(mask.any(axis=others))
        if held.size == 0:
            return (slice(0, 0),) * mask.ndim
        box.append(slice(max(int(held[0]) - margin, 0), min(int(held[-1]) + 1 + margin, length)))
    return tuple(box)


def surface(mask: Array) -> Array:
    """The surface voxels of ``mask``, both bool of one shape with two or three axes.

    An axis of length one is flat: it has no outside (a 2-D image as a volume of one slice).
    """
    axes = [axis for axis in range(mask.ndim) if mask.shape[axis] > 1]
    inner = mask.copy() if axes else np.zeros_like(mask)
    padded = np.pad(mask, 1)
    for axis in axes:
        for shift in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(shift, shift + mask.shape[axis])
            inner &= padded[tuple(window)]
    out: Array = mask & ~inner
    return out


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Both directed sets: each surface voxel's distance to the other mask's surface, (N,) float64."""

    from_truth: Array
    from_prediction: Array

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (linear between ranks)."""
        return float(max(np.percentile(self.from_truth, 95), np.percentile(self.from_prediction, 95)))

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: the mean over both directed sets together."""
        return float(np.concatenate([self.from_truth, self.from_prediction]).mean())

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice: the share of both surfaces' voxels within ``tolerance`` of the other."""
        both = np.concatenate([self.from_truth, self.from_prediction])
        return float(np.mean(both <= tolerance * _ROUNDING))


def distances(truth: Array, prediction: Array, spacing: tuple[float, ...]) -> SurfaceDistances | None:
    """Surface distances of two bool masks of one shape; None when either is empty.

    ``spacing`` gives the voxel's edge along each axis; it sets the unit of the result.
    """
    if not truth.any() or not prediction.any():
        return None
    # A margin of one voxel keeps flat axes flat and all others at least two voxels long.
    box = bounding_box(truth | prediction, margin=1)
    of_truth, of_prediction = surface(truth[box]), surface(prediction[box])
    return SurfaceDistances(
        from_truth=_directed(of_truth, of_prediction, spacing),
        from_prediction=_directed(of_prediction, of_truth, spacing),
    )


def _directed(start: Array, goal: Array, spacing: tuple[float, ...]) -> Array:
    """Distance of every True voxel of ``start`` to the nearest of ``goal``, (N,) float64 in C order."""
    found = np.zeros(np.count_nonzero(start))
    apart = ~goal[start]  # the others lie on both surfaces: 0
    if apart.any():
        tree = KDTree(_positions(goal, spacing), balanced_tree=False, compact_nodes=False)
        found[apart] = tree.query(_positions(start, spacing)[apart])[0]
    return found


def _positions(mask: Array, spacing: tuple[float, ...]) -> Array:
    """Positions of the True voxels from the array's corner, (N, axes) float64."""
    out: Array = np.argwhere(mask) * np.asarray(spacing, dtype=np.float64)
    return out
