"""Label maps as runs of equal values: looked up and counted run by run instead of voxel by voxel.

Neighbouring voxels of a label map mostly hold one value, so that there are a hundred times fewer runs than
voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg.grid import Array

_CHUNK = 2**22  # voxels whose runs are listed at a time: bounds the memory for noise


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Values and lengths (N,) of the runs of an array in the order of its memory.

    ``axes`` are the array's axes from the slowest to the fastest in memory, ``shape`` their lengths.
    """

    values: Array
    lengths: npt.NDArray[np.intp]
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> Self:
        """List the runs of an array of any number of axes; copied only where there are gaps in its memory."""
        axes = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
        ordered = array.transpose(axes)
        return cls(*_runs(ordered.reshape(-1)), axes, ordered.shape)

    def replaced(self, values: Array) -> Array:
        """Give the array with other values (N,) of the runs, in the same order of memory."""
        ordered = np.repeat(values, self.lengths).reshape(self.shape)
        return ordered.transpose(np.argsort(self.axes))


def count_values(array: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Give the values of an array, sorted, and the number of each, as ``np.unique`` does."""
    flat = array.ravel(order="K")
    parts = [_count(flat[start : start + _CHUNK]) for start in range(0, flat.size, _CHUNK)]
    if not parts:
        return flat, np.zeros(0, np.intp)
    values, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _summed(values, counts)


def _count(flat: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    return _summed(*_runs(flat))


def _summed(values: Array, counts: npt.NDArray[np.intp]) -> tuple[Array, npt.NDArray[np.intp]]:
    """Add the counts of equal values; sorted."""
    present, group = np.unique(values, return_inverse=True)
    sums: npt.NDArray[Any] = np.bincount(group, weights=counts, minlength=len(present))
    return present, sums.astype(np.intp)


def _runs(flat: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Values and lengths of the runs of (n,)."""
    if not flat.size:
        return flat, np.zeros(0, np.intp)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts], np.diff(starts, append=flat.size)
