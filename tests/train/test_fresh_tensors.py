"""Training without torch's fill of fresh tensors: the same weights, and torch's setting is put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.helpers.tiny_training import TinyNet, equal, run, weights

SETTINGS: Any = torch.utils.deterministic


class Filling(TinyNet):
    """Has torch fill fresh tensors with NaN again, as it would by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(SETTINGS.fill_uninitialized_memory)
        SETTINGS.fill_uninitialized_memory = True
        return super().forward(x)


def test_weights_do_not_depend_on_what_fresh_tensors_hold(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert SETTINGS.fill_uninitialized_memory is True
        plain, filling = TinyNet(), Filling()
        list(run(tmp_path / "plain", plain))
        list(run(tmp_path / "filled", filling))
    finally:
        torch.set_num_threads(threads)
    assert filling.seen[0] is False
    assert equal(weights(filling), weights(plain))
    assert SETTINGS.fill_uninitialized_memory is True
