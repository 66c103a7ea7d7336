"""Windows at the size of their epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medseg.networks.contract import Network
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resize import Resizer

Pair = tuple[int, int]


class Multiple(Network):
    """A network that takes multiples of four, from eight on."""

    size_divisor, min_size = 4, 8


def unchanged(patches: Tensor, labels: Tensor, t: int, rows: slice, *more: Tensor) -> tuple[Tensor, ...]:
    return patches, labels, *more


def resizer(*stages: tuple[int, float], change: Any = unchanged) -> Resizer:
    return Resizer(change, stages, 3, Multiple(1, 2).size_from)


def batch(window: Pair = (16, 24)) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(0)
    patches = torch.from_numpy(random.normal(size=(2, 3, *window)).astype(np.float32))
    labels = torch.from_numpy(random.choice(np.array([0, 1, 2, 255], np.uint8), (2, *window)))
    return patches, labels, torch.from_numpy(random.random((2, *window)).astype(np.float32))


def test_sizes_by_epoch_are_rounded_up_to_what_the_network_takes() -> None:
    made = resizer((2, 0.25), (1, 0.5), (1, 1.0))
    sizes = [made.size((16, 24), epoch) for epoch in range(5)]
    assert sizes == [(8, 8), (8, 8), (8, 12), (16, 24), (16, 24)]  # the last stage goes on
    assert made.size((48, 72), 0) == (12, 20)  # 18 is no multiple of four
    assert resizer((1, 0.9)).size((8, 8), 0) == (8, 8)


def test_halving_by_hand() -> None:
    patches = torch.arange(4.0).repeat_interleave(2).expand(1, 1, 8, 8).contiguous()
    labels = (patches[:, 0] * 60 + 75).to(torch.uint8)  # 75, 135, 195, 255 in pairs of columns
    made = Resizer(unchanged, [(1, 0.5)], 3, lambda side: side)
    found, smaller, weights = made(patches, labels, 0, slice(None), patches[:, 0])
    assert found.shape == (1, 1, 4, 4)
    assert smaller[0, 0].tolist() == [75, 135, 195, 255]
    assert smaller.dtype == torch.uint8
    # anti-aliased: a triangle of two old pixels' width, so half-way pairs lean on their neighbours
    assert found[0, 0, 0, 1:3].tolist() == pytest.approx([1.0, 2.0], abs=0.01)
    torch.testing.assert_close(weights, found[:, 0])


def test_labels_are_those_of_the_nearest_pixel_and_void_is_kept() -> None:
    patches, labels, weights = batch()
    _, found, _ = resizer((1, 0.5))(patches, labels, 2, slice(None), weights)
    assert found.shape == (2, 8, 12)
    rows, columns = ((np.arange(n) + 0.5) * 2 for n in (8, 12))
    expected = labels[:, np.floor(rows).astype(int)][:, :, np.floor(columns).astype(int)]
    assert torch.equal(found, expected)
    assert (found == 255).any()


def test_the_last_stage_at_full_size_gives_the_windows_as_they_are() -> None:
    patches, labels, weights = batch()
    made = resizer((1, 0.5), (1, 1.0))
    assert made(patches, labels, 2, slice(None), weights)[0].shape[-2:] == (8, 12)
    same = made(patches, labels, 3, slice(None), weights)
    assert all(a is b for a, b in zip(same, (patches, labels, weights), strict=True))


def test_what_augmentation_gives_is_resized_by_step_alone() -> None:
    augmenter = Augmenter(
        Augmentation(("anterior_posterior",), rotate_degrees=20, saturation=0.3), (16, 24), 2, seed=1
    )
    patches, labels, _ = batch(augmenter.field)
    made = resizer((1, 0.5), (1, 1.0), change=augmenter)
    whole = augmenter(patches, labels, 1)
    first, second = (made(patches, labels, 1) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[0], Resizer(unchanged, [(1, 0.5)], 3, made.size_from)(*whole, 1)[0])
    assert torch.equal(made(patches, labels, 4)[0], augmenter(patches, labels, 4)[0])
