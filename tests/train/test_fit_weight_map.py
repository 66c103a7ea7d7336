"""A weight map in the loop: drawn, moved by augmentation, cut like the labels, taken by the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.losses import build
from tests.helpers import tiny_training


def draw(t: int, rows: slice = slice(None)) -> tuple[Any, ...]:
    """The tiny batch, and as its map the labels, weighted by their place."""
    patches, labels = tiny_training.draw(t, rows)
    return patches, labels, labels * np.arange(1, 37, dtype=np.float32).reshape(6, 6)


def flip(patches: Tensor, labels: Tensor, t: int, rows: slice, weights: Tensor) -> tuple[Tensor, ...]:
    return patches.flip(-1), labels.flip(-1), weights.flip(-1)


class Valid(nn.Module):
    """(B, 3, 6, 6) -> (B, 2, 4, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x)
        return logits


def test_the_loss_gets_the_map_as_it_gets_the_labels(tmp_path: Path) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    weighted = build("ce")

    def loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        seen.append((labels, weights))
        return weighted(logits, labels, weights)

    once = tiny_training.plan(epochs=1, steps_per_epoch=2)
    list(tiny_training.run(tmp_path, Valid(), once, draw=draw, augment=flip, loss=loss, validate=None))
    for t, (labels, weights) in enumerate(seen):
        expected = (torch.from_numpy(array).flip(-1)[:, 1:5, 1:5] for array in draw(t)[1:])
        assert all(map(torch.equal, (labels, weights), expected))


def test_the_map_changes_what_is_learned_and_needs_no_augmentation(tmp_path: Path) -> None:
    plain, weighted = tiny_training.TinyNet(), tiny_training.TinyNet()
    for network, source in ((plain, tiny_training.draw), (weighted, draw)):
        folder = tmp_path / source.__module__
        list(
            tiny_training.run(
                folder, network, tiny_training.plan(epochs=1), draw=source, augment=None, loss=build("ce")
            )
        )
    assert not tiny_training.equal(tiny_training.weights(plain), tiny_training.weights(weighted))
