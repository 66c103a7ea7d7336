"""Resampling through the affines, one target voxel at a time, eight neighbours each."""

from __future__ import annotations

from itertools import product

import numpy as np

from medseg.grid import Array, Grid


def source_position(target_index: tuple[int, int, int], target: Grid, source: Grid) -> Array:
    """The target voxel's place in mm, as a position in source voxels, held inside the source."""
    place = target.affine[:3, :3] @ np.array(target_index, float) + target.affine[:3, 3]
    position = np.linalg.solve(source.affine[:3, :3], place - source.affine[:3, 3])
    return np.clip(position, 0, np.array(source.shape) - 1)


def linear(array: Array, source: Grid, target: Grid) -> Array:
    out = np.zeros(target.shape)
    for index in product(*map(range, target.shape)):
        position = source_position(index, target, source)
        low = np.floor(position + 1e-9).astype(int)
        part = position - low
        for corner in product((0, 1), repeat=3):
            weight = np.prod([p if c else 1 - p for p, c in zip(part, corner, strict=True)])
            at = np.minimum(low + corner, np.array(source.shape) - 1)
            out[index] += weight * array[tuple(at)]
    return out


def nearest(array: Array, source: Grid, target: Grid) -> Array:
    """Half-way between two voxels, the lower index."""
    out = np.zeros(target.shape, array.dtype)
    for index in product(*map(range, target.shape)):
        position = source_position(index, target, source)
        out[index] = array[tuple(int(np.ceil(p - 0.5 - 1e-6)) for p in position)]
    return out
