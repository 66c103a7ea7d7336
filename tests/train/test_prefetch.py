"""Drawing one batch ahead."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from medseg.train.prefetch import ahead


def test_each_step_comes_with_its_batch_in_order() -> None:
    assert list(ahead(lambda t: t * t, range(3, 7))) == [(3, 9), (4, 16), (5, 25), (6, 36)]
    assert list(ahead(lambda t: t, range(2, 2))) == []


def test_one_batch_is_drawn_ahead_and_no_more_and_closing_ends_the_thread() -> None:
    drawn: list[int] = []
    with closing(ahead(lambda t: drawn.append(t), range(100))) as batches:
        next(batches)
        next(batches)
    assert drawn in ([0, 1], [0, 1, 2])
    assert not [t for t in threading.enumerate() if t.name.startswith("draw")]


def test_a_fault_is_raised_at_its_step() -> None:
    batches = ahead(lambda t: 1 / (2 - t), range(5))
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)
