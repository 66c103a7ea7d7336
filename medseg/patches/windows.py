"""Windows in a slice: the covering grid, mirroring of slices that are too small, and cutting.

Along an axis of N pixels, windows of w at stride s start at 0, s, 2s, … while they fit; if the last ends
before N, one more starts at N - w. A slice smaller than the window is mirrored up to it at its end
(bottom, right), so that undoing is keeping the first H rows and W columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.grid import Array

Pair = tuple[int, int]
Starts = npt.NDArray[np.intp]


def covering_starts(size: int, window: int, stride: int) -> list[int]:
    """Starts of windows along an axis of ``size`` pixels; [0] where the axis is shorter than the window.

    Raises KEYWORD_INVALID where the stride would leave gaps.
    """
    if not 1 <= stride <= window:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "stride",
            f"{stride} for a window of {window}",
            f"give a stride from 1 to {window}, or pixels between windows are never seen",
        )
    last = max(0, size - window)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def covering_grid(shape: Pair, window: Pair, stride: Pair) -> Starts:
    """Starts (row, column) of the windows that cover a slice of ``shape`` (H, W): (N, 2), row by row."""
    rows, columns = (covering_starts(*axis) for axis in zip(shape, window, stride, strict=True))
    grid = np.meshgrid(np.array(rows, np.intp), np.array(columns, np.intp), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 2)


def mirrored(array: Array, shape: Pair) -> Array:
    """Mirror an array (…, H, W) at its end up to at least ``shape``, without repeating the edge pixel.

    Where the axis is too short it is mirrored to and fro; an axis of one pixel is repeated. An array that is
    large enough is given back as it is.
    """
    extra = [max(0, target - n) for n, target in zip(array.shape[-2:], shape, strict=True)]
    if not any(extra):
        return array
    none: list[Pair] = [(0, 0)] * (array.ndim - 2)
    return np.pad(array, [*none, (0, extra[0]), (0, extra[1])], mode="reflect")


def cut(slabs: Tensor, starts: Tensor, window: Pair) -> Tensor:
    """Cut windows (S·N, C, h, w) of slabs (S, C, H, W) at ``starts`` (N, 2), on their device; a copy."""
    every = slabs.unfold(2, window[0], 1).unfold(3, window[1], 1)  # a view (S, C, rows, columns, h, w)
    return every.permute(0, 2, 3, 1, 4, 5)[:, starts[:, 0], starts[:, 1]].flatten(0, 1)
