"""Numbers of objects on their way through augmentation: nearest neighbour, and a border made anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medseg.patches.augment import Augmentation, Augmenter, draw, move
from medseg.patches.touching import separated
from medseg.preprocess import instances

WINDOW = (12, 16)


def _objects(size: tuple[int, int]) -> Tensor:
    """Numbers (1, H, W) of a mosaic of 5×5 squares, every third one left out."""
    rows, columns = (torch.arange(n) // 5 for n in size)
    numbers = 1 + columns[None] + 7 * rows[:, None]
    return torch.where(numbers % 3 == 0, 0, numbers)[None].float()


def test_equal_to_the_border_of_preprocessing() -> None:
    numbers = _objects((17, 23))
    labels = (numbers > 0).to(torch.uint8)
    labels[0, 3:5, 2] = 255
    found = separated(labels, numbers)
    whole = [array[0].numpy()[..., None] for array in (labels, numbers)]
    np.testing.assert_array_equal(found[0].numpy(), instances.separated(whole[0], whole[1], "axial")[..., 0])
    assert (found == 255).sum() == 2 and (found == 0).sum() > (labels == 0).sum()


@pytest.mark.parametrize(
    "settings",
    [
        Augmentation(),
        Augmentation(("vertical", "horizontal")),
        Augmentation(rotate_degrees=40, scale=0.5, shift_px=3),
        Augmentation(("vertical",), elastic_px=2.0, rotate_degrees=10),
    ],
    ids=["nothing", "flips", "turns", "bends"],
)
def test_numbers_move_as_the_labels_do_and_separate_them(settings: Augmentation) -> None:
    plain = Augmenter(settings, WINDOW, 1, seed=3)
    apart = Augmenter(settings, WINDOW, 1, seed=3, instances=True)
    size, placement = plain.field, []
    if settings.elastic_px:
        size = (40, 40)
        placement = [torch.tensor([[[14.0, 12], [40, 40], [0, 1], [1, 1], [0, 0]]])]
    numbers = _objects(size)
    patches, weights = torch.randn(1, 1, *size), torch.rand(1, *size)
    # Numbers as labels, which are read by nearest neighbour, say where each pixel comes from
    moved = plain(patches, numbers.to(torch.uint8), 5, slice(None), weights, *placement)
    labels = (numbers > 0).to(torch.uint8)
    found = apart(patches, labels, 5, slice(None), weights, numbers, *placement)
    assert len(found) == len(moved) == 3
    assert torch.equal(found[0], moved[0]) and torch.equal(found[2], moved[2])
    expected = separated((moved[1] > 0).to(torch.uint8), moved[1].float())
    assert torch.equal(found[1], expected)
    assert 0 < int(found[1].sum()) < int((moved[1] > 0).sum())


def test_large_numbers_are_read_exactly() -> None:
    numbers = torch.full((1, 20, 20), 65_535.0)
    numbers[:, :, 10:] = 65_534.0
    turned = replace(draw(Augmentation(), 1, np.random.default_rng(0)), rotate_radians=np.array([0.3]))
    *_, found = move(torch.zeros(1, 1, 20, 20), numbers, turned, (8, 8), numbers=[numbers])
    assert set(found.unique().tolist()) == {65_534.0, 65_535.0}
