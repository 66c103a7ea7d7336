"""The covering grid: the paper's figures, coverage without gaps, mirroring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.patches import windows
from tests.oracles import voting as oracle


def test_the_papers_grid() -> None:
    rows, columns = windows.covering_starts(256, 40, 10), windows.covering_starts(128, 40, 10)
    assert (len(rows), rows[-2:]) == (23, [210, 216])
    assert (len(columns), columns[-2:]) == (10, [80, 88])
    grid = windows.covering_grid((256, 128), (40, 40), (10, 10))
    assert len(grid) == 230
    coverage = np.zeros((256, 128), int)
    for row, column in grid.starts:
        coverage[row : row + 40, column : column + 40] += 1
    assert (coverage.min(), coverage[0, 0], coverage.max()) == (1, 1, 25)
    assert (coverage[30:210, 30:80] == 16).all()


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [(4, 2, 2, [0, 2]), (5, 2, 2, [0, 2, 3]), (3, 3, 1, [0]), (2, 5, 1, [0]), (6, 4, 4, [0, 2])],
)
def test_starts_by_hand(size: int, window: int, stride: int, expected: list[int]) -> None:
    assert windows.covering_starts(size, window, stride) == expected


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_starts_equal_the_oracle_and_leave_no_gap(size: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    starts = windows.covering_starts(size, window, stride)
    assert starts == oracle.covering_starts(size, window, stride)
    seen = {start + i for start in starts for i in range(window)}
    assert seen == set(range(max(size, window)))


def test_the_grid_runs_row_by_row() -> None:
    grid = windows.covering_grid((4, 3), (2, 2), (2, 1))
    assert grid.starts.tolist() == [[0, 0], [0, 1], [2, 0], [2, 1]]


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (4, 0), (0, 1), (4, -1)])
def test_a_gap_is_refused(window: int, stride: int) -> None:
    with pytest.raises(MedsegError) as refused:
        windows.covering_starts(20, window, stride)
    assert refused.value.code == Code.KEYWORD_INVALID


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([1, 2, 3], 5, [1, 2, 3, 2, 1]),
        ([1, 2, 3], 8, [1, 2, 3, 2, 1, 2, 3, 2]),  # to and fro
        ([7], 3, [7, 7, 7]),
        ([1, 2, 3], 2, [1, 2, 3]),
    ],
)
def test_mirroring_by_hand(values: list[int], width: int, expected: list[int]) -> None:
    array = np.array(values).reshape(1, 1, -1)
    assert windows.mirrored(array, (1, width)).ravel().tolist() == expected
    assert windows.mirrored(array.swapaxes(1, 2), (width, 1)).ravel().tolist() == expected


def test_a_large_enough_array_is_not_copied() -> None:
    array = np.zeros((3, 8, 8))
    assert windows.mirrored(array, (8, 4)) is array


@st.composite
def grids(draw: st.DrawFn) -> tuple[windows.Block, windows.Pair, windows.Pair]:
    """A covering grid, the shape of its slices, which are no smaller than a window, and its window."""
    window = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = draw(st.tuples(st.integers(1, window[0]), st.integers(1, window[1])))
    height, width = (side + draw(st.integers(0, 9)) for side in window)
    return windows.covering_grid((height, width), window, stride), (height, width), window


@given(grids(), st.integers(1, 40))
def test_blocks_have_all_windows_in_order_and_are_even(
    grid: tuple[windows.Block, windows.Pair, windows.Pair], most: int
) -> None:
    whole = grid[0]
    blocks = windows.blocks(whole, most)
    assert np.concatenate([block.starts for block in blocks]).tolist() == whole.starts.tolist()
    assert max(map(len, blocks)) <= most
    spread = max(map(len, blocks)) - min(map(len, blocks))
    assert spread <= (len(whole.columns) if len(whole.columns) <= most else 1)


@given(grids(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40), st.booleans())
@settings(deadline=None)
def test_cut_gives_the_pixels_of_each_window_in_the_slabs_memory_format(
    grid: tuple[windows.Block, windows.Pair, windows.Pair], many: int, channels: int, most: int, last: bool
) -> None:
    whole, shape, (height, width) = grid
    memory_format = torch.channels_last if last else torch.contiguous_format
    slabs = torch.arange(many * channels * shape[0] * shape[1]).reshape(many, channels, *shape)
    slabs = slabs.contiguous(memory_format=memory_format)
    for block in windows.blocks(whole, most):
        patches = windows.cut(slabs, block, (height, width))
        assert patches.shape == (many * len(block), channels, height, width)
        assert patches.is_contiguous(memory_format=memory_format)
        places = [(slab, *start) for slab in slabs for start in block.starts.tolist()]
        for patch, (slab, row, column) in zip(patches, places, strict=True):
            assert torch.equal(patch, slab[:, row : row + height, column : column + width])


def test_cut_windows_are_copies() -> None:
    slabs = torch.zeros(1, 1, 4, 4)
    windows.cut(slabs, windows.Block([0], [0]), (4, 4)).fill_(1)
    assert not slabs.any()
