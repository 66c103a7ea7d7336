"""Voting: the paper's examples, the slow oracle, stitch∘cut = identity, counters that do not wrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.infer.stitch import VoteStitcher
from medseg.patches.windows import Block, blocks, covering_grid, cut, mirrored
from tests.oracles import voting as oracle

Pair = tuple[int, int]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Pair, Pair, Pair]:
    """Shape, window and stride; windows may be larger than the slice."""
    shape = draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    window = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    stride = draw(st.tuples(st.integers(1, window[0]), st.integers(1, window[1])))
    return shape, window, stride


@pytest.mark.parametrize(
    ("scores", "winner", "confidence"),
    [
        ([(0.9, 0.1), (0.4, 0.6), (0.45, 0.55)], 1, 1 / 3),  # votes 2:1, though the sums favour 0
        ([(0.9, 0.1), (0.4, 0.6)], 0, 0),  # a tie goes to the lowest class
        ([(0.4, 0.6)], 1, 1),
    ],
)
def test_the_papers_examples(scores: list[tuple[float, float]], winner: int, confidence: float) -> None:
    windows = len(scores)  # of as many pixels: all of them hold the slice's middle
    votes = VoteStitcher((1, 2 * windows - 1), (1, windows), (1, 1), classes=2)
    for start, pixel in enumerate(scores):
        votes.add(torch.tensor(pixel).argmax().to(torch.uint8).expand(1, 1, windows), Block([0], [start]))
    labels, confidences = votes.result()
    assert labels[0, windows - 1] == winner
    assert float(confidences[0, windows - 1]) == pytest.approx(confidence)


def test_a_row_of_three_windows_by_hand() -> None:
    # windows of 2 on 4 pixels say 12, 20, 22: pixel votes 1 | 2 2 | 0 2 | 2
    votes = VoteStitcher((1, 4), (1, 2), (1, 1), classes=3)
    votes.add(torch.tensor([[[1, 2]], [[2, 0]], [[2, 2]]], dtype=torch.uint8), Block([0], [0, 1, 2]))
    labels, confidences = votes.result()
    assert labels.tolist() == [[1, 2, 0, 2]]
    assert confidences.tolist() == [[1, 1, 0, 1]]


@given(layouts(), st.integers(2, 5), st.integers(1, 7), st.integers(0, 2**31))
@settings(max_examples=300, deadline=None)
def test_equals_the_oracle(layout: tuple[Pair, Pair, Pair], classes: int, batch: int, seed: int) -> None:
    shape, window, stride = layout
    grid = covering_grid(shape, window, stride)
    starts = grid.starts
    said = np.random.default_rng(seed).integers(0, classes, (len(starts), *window), dtype=np.uint8)
    votes, first = VoteStitcher(shape, window, stride, classes), 0
    for block in blocks(grid, batch):
        votes.add(torch.from_numpy(said[first : first + len(block)]), block)
        first += len(block)
    labels, confidences = votes.result()
    places = [
        ((int(row), int(column)), patch.tolist()) for (row, column), patch in zip(starts, said, strict=True)
    ]
    expected, expected_margins = oracle.vote(shape, places, classes)
    assert labels.dtype == torch.uint8
    assert labels.tolist() == expected
    assert confidences.dtype == torch.float32
    assert np.allclose(confidences, np.array(expected_margins, dtype=float))


@given(layouts(), st.integers(0, 2**31))
@settings(max_examples=300, deadline=None)
def test_stitching_what_was_cut_is_the_identity(layout: tuple[Pair, Pair, Pair], seed: int) -> None:
    shape, window, stride = layout
    truth = np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8)
    grid = covering_grid(shape, window, stride)
    votes = VoteStitcher(shape, window, stride, classes=4)
    slice_ = torch.from_numpy(mirrored(truth[None, None], window))
    votes.add(cut(slice_, grid, window)[:, 0], grid)
    labels, confidences = votes.result()
    assert np.array_equal(labels, truth)
    assert (confidences == 1).all()


def test_four_hundred_votes_do_not_wrap() -> None:
    # 40×40 windows at stride 2: 400 on an inner pixel, beyond what one byte counts
    shape, window, stride = (90, 90), (40, 40), (2, 2)
    grid = covering_grid(shape, window, stride)
    starts = grid.starts
    votes = VoteStitcher(shape, window, stride, classes=2)
    said = np.zeros((len(starts), *window), np.uint8)
    said[: len(starts) // 3] = 1
    votes.add(torch.from_numpy(said), grid)
    labels, confidences = votes.result()
    count = np.zeros((*shape, 2), int)
    for (row, column), value in zip(starts, said[:, 0, 0], strict=True):
        count[row : row + 40, column : column + 40, value] += 1
    assert count.sum(axis=-1).max() == 400
    assert np.array_equal(labels, count.argmax(axis=-1))
    assert np.allclose(confidences, np.abs(count[..., 0] - count[..., 1]) / count.sum(axis=-1))
