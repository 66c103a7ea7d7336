"""Decisions by numpy on the host: the arg-max with its ties, one-hot labels, the lead of the first class."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.infer.decide import highest, lead, one_hot


@given(st.integers(2, 6), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_highest_and_lead_equal_sorting_in_any_layout(
    classes: int, windows: int, last: bool, counts: bool, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 4, (windows, classes, 3, 5))  # so few that many tie
    scores = torch.from_numpy(values.astype(np.uint8 if counts else np.float32))
    scores = scores.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    by_class = scores.movedim(1, 0)
    before = by_class.clone()
    assert np.array_equal(highest(by_class), values.argmax(axis=1))
    in_order = np.sort(values, axis=1)
    assert np.array_equal(lead(by_class), in_order[:, -1] - in_order[:, -2])
    assert torch.equal(by_class, before)


def test_infinite_scores_are_ordered_and_equal_ones_tie() -> None:
    infinite = torch.tensor([[-torch.inf, torch.inf, -torch.inf], [0, torch.inf, -torch.inf]])
    assert highest(infinite).tolist() == [1, 0, 0]


def test_one_hot_by_hand() -> None:
    labels = torch.tensor([[0, 2], [1, 2]], dtype=torch.uint8)
    assert one_hot(labels, 3).tolist() == [[[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 1], [0, 1]]]
    assert one_hot(labels, 3).dtype == torch.uint8
