"""Drawing one batch ahead."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
import torch

from medseg.train import prefetch
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


def test_the_time_for_which_each_batch_is_waited_for_is_counted() -> None:
    waits: list[float] = []
    for _ in ahead(lambda t: time.sleep(0.2 if t == 0 else 0.0), range(4), on_wait=waits.append):
        time.sleep(0.02)
    assert len(waits) == 4
    assert waits[0] > 0.05
    assert min(waits) >= 0


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize("steps", [range(0), range(4, 5), range(3, 10), range(2, 20, 3)])
def test_any_number_of_threads_gives_the_same_batches_in_order(threads: int, steps: range) -> None:
    def slow(t: int) -> int:
        time.sleep(0.002 * (t % 3))  # so that later batches end before earlier ones
        return t * t

    assert list(ahead(slow, steps, threads)) == [(t, t * t) for t in steps]


def test_as_many_batches_as_threads_are_drawn_ahead_and_no_more() -> None:
    drawn: list[int] = []
    with closing(ahead(lambda t: drawn.append(t), range(100), 3)) as batches:
        next(batches)
        next(batches)
        time.sleep(0.05)
        assert sorted(drawn) == [0, 1, 2, 3, 4]
    assert not [t for t in threading.enumerate() if t.name.startswith("draw")]


def test_threads_draw_on_the_processors_that_the_network_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "most_threads", lambda: 12)
    numbers = {}
    for threads in (1, 6, 12, 20):
        monkeypatch.setattr(prefetch.torch, "get_num_threads", lambda threads=threads: threads)
        numbers[threads] = prefetch.draw_threads(torch.device("cpu"))
    assert numbers == {1: 8, 6: 6, 12: 1, 20: 1}
    assert prefetch.draw_threads(torch.device("cuda")) == 8


def test_processes_help_on_processors_that_no_training_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "most_threads", lambda: 12)
    monkeypatch.setattr(prefetch.torch, "get_num_threads", lambda: 4)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [prefetch.most_helpers(cpu, processes) for processes in (1, 2, 20)] == [8, 4, 0]
    assert [prefetch.most_helpers(cuda, processes) for processes in (1, 3, 12)] == [8, 3, 0]


def test_a_fault_is_raised_at_its_step() -> None:
    batches = ahead(lambda t: 1 / (2 - t), range(5))
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)
