"""Windows in a slice: the covering grid, mirroring of slices that are too small, and cutting.

Along an axis of N pixels, windows of w at stride s start at 0, s, 2s, … while they fit; if the last ends
before N, one more starts at N - w. A slice smaller than the window is mirrored up to it at its end
(bottom, right), so that undoing is keeping the first H rows and W columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.grid import Array

Pair = tuple[int, int]
Starts = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Block:
    """Windows that are cut together: one at each of ``rows`` and ``columns``, row by row.

    These are their first rows and columns in the slice, in order; all but the last are equally far apart.
    """

    rows: Sequence[int]
    columns: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def starts(self) -> Starts:
        """Start (row, column) of each window: (N, 2)."""
        grid = np.meshgrid(np.array(self.rows, np.intp), np.array(self.columns, np.intp), indexing="ij")
        return np.stack(grid, axis=-1).reshape(-1, 2)


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


def covering_grid(shape: Pair, window: Pair, stride: Pair) -> Block:
    """All windows that cover a slice of ``shape`` (H, W)."""
    rows, columns = (covering_starts(*axis) for axis in zip(shape, window, stride, strict=True))
    return Block(rows, columns)


def blocks(grid: Block, most: int) -> list[Block]:
    """Divide a covering grid into blocks of at most ``most`` windows, about as large as one another.

    They are whole rows of windows, or parts of one row where ``most`` is less than that.
    """
    if len(grid.columns) <= most:
        return [Block(rows, grid.columns) for rows in _evenly(grid.rows, most // len(grid.columns))]
    return [Block([row], columns) for row in grid.rows for columns in _evenly(grid.columns, most)]


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


def cut(slabs: Tensor, block: Block, window: Pair) -> Tensor:
    """Cut windows (S·N, C, h, w) out of slabs (S, C, H, W), on their device; a copy in their memory format.

    Equally spaced windows are a view of the slabs, so that a block takes one copy, and one more for windows
    that were moved back at the end of an axis.
    """
    many, channels = slabs.shape[:2]
    are_last = slabs.is_contiguous(memory_format=torch.channels_last) and not slabs.is_contiguous()
    of_window = (*window, channels) if are_last else (channels, *window)
    result = slabs.new_empty(many, len(block.rows), len(block.columns), *of_window)
    windows = result.movedim(-1 if are_last else 3, 1)  # (S, C, rows, columns, h, w)
    for (i, rows), (j, columns) in itertools.product(_runs(block.rows), _runs(block.columns)):
        of_run = _unfold(_unfold(slabs, 2, rows, window[0]), 3, columns, window[1])
        windows[:, :, i : i + len(rows), j : j + len(columns)].copy_(of_run)
    together = result.flatten(0, 2)
    return together.movedim(-1, 1) if are_last else together


def _unfold(slabs: Tensor, axis: int, starts: Sequence[int], size: int) -> Tensor:
    """View equally spaced pieces along an axis: their number takes its place, their size is the last axis."""
    step = starts[1] - starts[0] if len(starts) > 1 else 1
    return slabs.narrow(axis, starts[0], starts[-1] - starts[0] + size).unfold(axis, size, step)


def _runs(starts: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Equally spaced starts, each run with the index of its first one: the last may be a run of its own."""
    is_regular = len(starts) < 3 or starts[-1] - starts[-2] == starts[1] - starts[0]
    yield 0, starts if is_regular else starts[:-1]
    if not is_regular:
        yield len(starts) - 1, starts[-1:]


def _evenly(items: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """Parts of at most ``most`` items, whose lengths differ by one at most."""
    parts = -(-len(items) // most)
    ends = [len(items) * part // parts for part in range(parts + 1)]
    return (items[first:last] for first, last in itertools.pairwise(ends))
