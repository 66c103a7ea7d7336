"""Copies that nobody waits for: order, no waiting before the next is asked for, and what a CPU does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from medseg import transfer
from medseg.transfer import Download, downloaded, upload


class Slow:
    """A copy that has arrived when it is waited for, and not before."""

    waited: ClassVar[list[int]] = []

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors, self.is_done = tensors, False

    def wait(self) -> list[Tensor]:
        self.waited.append(int(self.tensors[0]))
        return list(self.tensors)


def items(asked: list[int]) -> Iterator[list[Tensor]]:
    for number in range(4):
        asked.append(number)
        yield [torch.tensor(number), torch.full((2,), number)]


def test_on_a_cpu_each_item_comes_before_the_next_is_asked_for() -> None:
    asked: list[int] = []
    for number, (first, second) in enumerate(downloaded(items(asked))):
        assert asked == list(range(number + 1))
        assert (first.tolist(), second.tolist()) == (number, [number, number])


def test_a_copy_is_waited_for_after_the_next_item_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "Download", Slow)
    monkeypatch.setattr(Slow, "waited", [])
    asked: list[int] = []
    seen = []
    for first, _ in downloaded(items(asked)):
        seen.append(int(first))
        assert Slow.waited == seen
        assert asked == list(range(min(4, len(seen) + 1)))
    assert seen == [0, 1, 2, 3]


def test_uploads_to_a_cpu_share_memory_and_elsewhere_have_the_same_form() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = upload(array, "cpu")
    array[0, 0] = 9
    assert tensor[0, 0] == 9
    elsewhere = upload(array, "meta")
    assert (elsewhere.device.type, elsewhere.shape, elsewhere.dtype) == ("meta", (2, 3), torch.float32)


def test_downloads_of_a_cpu_are_done_at_once() -> None:
    tensor = torch.ones(2)
    download = Download([tensor])
    assert download.is_done
    assert download.wait()[0] is tensor
