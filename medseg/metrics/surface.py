"""Distances between the surfaces of two masks, in the unit of the spacing (mm, or px for images).

The surface of a mask is the mask minus its erosion by the face-connected neighbourhood; beyond the volume's
border is outside. Distances are exact. Surfaces of two segmentations of one thing are mostly a few voxels
apart, so the nearest offsets are looked up first. Voxels that are further away are searched with a KD-tree;
where they fill much of the box, as in speckle, a distance transform of the box is several times faster
(`benchmarks/surface.py` measures all three).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from medseg.grid import Array

DENSE_SHARE = 0.04
"""Share of a box's voxels to look up, above which the distance transform is used instead of the KD-tree."""

MOST_OFFSETS = 600
"""Offsets that are looked up at most: a ball of five voxels where they are cubes."""

_MOST_STEPS = 10
"""Voxels that an offset goes along an axis at most, so that thin voxels need no wide margin."""

_TREE_POINT, _TREE_BUILD, _GROUP = 500, 4, 3000
"""Lookups that take as long as the KD-tree's search for one voxel, a fourth of its building for one, and the
calls for a group of offsets."""

# Headers store spacings as float32, so that a distance of one 1 mm voxel may read 1.00000006 mm.
_ROUNDING = 1 + 1e-5


def bounding_box(mask: Array, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box around the True voxels, grown by ``margin`` voxels within the array.

    ``mask`` is bool of any number of axes; an empty mask gives an empty box.
    """
    # Projections are several times faster than ndimage.find_objects, which looks at every label.
    box = []
    for axis, length in enumerate(mask.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        if occupied.size == 0:
            return (slice(0, 0),) * mask.ndim
        box.append(slice(max(int(occupied[0]) - margin, 0), min(int(occupied[-1]) + 1 + margin, length)))
    return tuple(box)


def surface(mask: Array) -> Array:
    """The surface voxels of ``mask``, both bool of one shape with two or three axes.

    An axis of length one is flat: it has no outside (a 2-D image as a volume of one slice).
    """
    # Shifted views are several times faster than ndimage.binary_erosion, which knows no flat axes.
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
    nearest = np.zeros(np.count_nonzero(start))
    apart = ~goal[start]  # the others lie on both surfaces: 0
    if not apart.any():
        return nearest
    start = start & ~goal
    lengths, left = by_offsets(start, goal, spacing)
    if count := np.count_nonzero(left):
        start[start] = left
        search = by_transform if count > DENSE_SHARE * start.size else by_tree
        lengths[left] = search(start, goal, spacing)
    nearest[apart] = lengths
    return nearest


def by_offsets(start: Array, goal: Array, spacing: tuple[float, ...]) -> tuple[Array, Array]:
    """Distances of the True voxels of ``start`` to the nearest of ``goal`` where that is near.

    Offsets are tried from the shortest on, so that the first one that hits is the nearest; they are given up
    as soon as a KD-tree would be faster for the voxels that are left. Returns (N,) float64 and a mask (N,) of
    those left, whose distances are not known.
    """
    reach, groups = _offsets(tuple(spacing), tuple(length > 1 for length in goal.shape))
    padded = np.pad(goal, [(n, n) for n in reach])
    strides = np.array(padded.strides)
    places = strides @ (np.array(np.nonzero(start)) + np.array(reach)[:, None])
    lookup, numbers = padded.reshape(-1), np.arange(len(places))
    distances, left = np.empty(len(places)), np.ones(len(places), dtype=bool)
    credit = most = _TREE_BUILD * np.count_nonzero(goal)
    for distance, offsets in groups:
        steps = offsets @ strides
        hit = lookup[places + steps[0]]
        for step in steps[1:]:
            hit |= lookup[places + step]
        near = numbers[hit]
        distances[near], left[near] = distance, False
        # What a KD-tree would have cost for these voxels pays for the lookups.
        credit = min(credit + _TREE_POINT * len(near) - len(steps) * len(places) - _GROUP, most)
        places, numbers = places[~hit], numbers[~hit]
        if credit < 0 or not len(places):
            break
    return distances, left


@lru_cache(maxsize=16)
def _offsets(
    spacing: tuple[float, ...], wide: tuple[bool, ...]
) -> tuple[tuple[int, ...], Sequence[tuple[float, Array]]]:
    """The nearest offsets (M, axes) of each length, from the shortest on; most voxels that one goes, by axis.

    Axes that are not ``wide`` have one voxel. Every offset up to the longest is there.
    """
    steps = np.array([step for step, one in zip(spacing, wide, strict=True) if one])
    if not len(steps):
        return (0,) * len(spacing), ()
    radius = 0.6 * (MOST_OFFSETS * steps.prod()) ** (1 / len(steps))  # of a ball of so many voxels
    longest = min(radius, _MOST_STEPS * steps.min())
    reach = tuple(int(longest / step) if one else 0 for step, one in zip(spacing, wide, strict=True))
    every = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    every = every.reshape(-1, len(spacing))
    lengths = np.sqrt(((np.abs(every) * np.array(spacing)) ** 2).sum(axis=1))  # equal for mirrored ones
    near = (lengths > 0) & (lengths <= longest)
    values, group = np.unique(lengths[near], return_inverse=True)
    return reach, [(float(value), every[near][group == number]) for number, value in enumerate(values)]


def by_tree(start: Array, goal: Array, spacing: tuple[float, ...]) -> Array:
    """Distances of the True voxels of ``start`` to the nearest of ``goal``, (N,) float64, by a KD-tree."""
    voxel = np.asarray(spacing, dtype=np.float64)
    tree = KDTree(np.argwhere(goal) * voxel, leafsize=64, balanced_tree=False, compact_nodes=False)
    nearest: Array = tree.query(np.argwhere(start) * voxel)[0]
    return nearest


def by_transform(start: Array, goal: Array, spacing: tuple[float, ...]) -> Array:
    """The distances of :func:`by_tree` by a distance transform of the whole array."""
    # The transform gives the nearest voxels instead of distances: float64 of the whole box is never made.
    nearest = ndimage.distance_transform_edt(
        ~goal, sampling=spacing, return_distances=False, return_indices=True
    )
    squares = np.zeros(np.count_nonzero(start))
    for axis, (positions, step) in enumerate(zip(np.nonzero(start), spacing, strict=True)):
        squares += ((nearest[axis][start] - positions) * float(step)) ** 2
    return np.sqrt(squares)
