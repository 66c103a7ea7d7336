"""A fully convolutional network is its window classifier at every window: the identities, each by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks import build
from medseg.networks.pixelwise import WindowClassifier, as_convolution, fully_convolutional
from medseg.networks.tools.receptive_field import ReceptiveField, receptive_field


def image(height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, height, width, dtype=torch.float64, generator=generator)


def classifier(**keywords: Any) -> WindowClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WindowClassifier(3, 10, **keywords).double()


def at_every_window(net: WindowClassifier, x: Tensor, side: int, stride: int) -> Tensor:
    """The classifier window by window: (K, rows, columns)."""
    rows, columns = (range(0, n - side + 1, stride) for n in x.shape[-2:])
    scores = [[net(x[..., r : r + side, c : c + side])[0] for c in columns] for r in rows]
    return torch.stack([torch.stack(row, -1) for row in scores], 1)


def test_parameters_by_hand() -> None:
    network = build("pixelwise", 3, 10)
    by_hand = (27 * 64 + 64) + (576 * 64 + 64) + (576 * 200 + 200) + (200 * 10 + 10)
    assert sum(p.numel() for p in network.parameters()) == by_hand == 156_130


def test_the_window_net_ends_in_a_10_by_200_layer_on_1_by_1_by_200_features() -> None:
    net = classifier()
    assert net.features(image(7, 7)).shape == (1, 200, 1, 1)
    assert net.full.weight.shape == (10, 200)


def test_as_a_1_by_1_convolution_it_equals_the_classifier_at_every_window_of_a_12_by_13_image() -> None:
    net, x = classifier(), image(12, 13)
    found = fully_convolutional(net)(x)
    assert found.shape == (1, 10, 6, 7)
    assert (found[0] - at_every_window(net, x, 7, 1)).abs().max() <= 1e-14


def test_with_one_pooling_it_equals_the_classifier_at_windows_of_stride_2() -> None:
    net, x = classifier(pool=True), image(12, 15)
    found = fully_convolutional(net)(x)
    assert found.shape == (1, 10, 3, 4)
    assert (found[0] - at_every_window(net, x, 8, 2)).abs().max() <= 1e-14


def test_a_full_layer_on_n_by_n_by_c_is_an_n_by_n_convolution_with_reshaped_weights() -> None:
    full, x = nn.Linear(5 * 4 * 4, 6).double(), image(4, 4, 5)
    made = as_convolution(full, 4)
    assert made.weight.shape == (6, 5, 4, 4)
    assert (made(x).flatten() - full(x.flatten())).abs().max() <= 1e-14


def test_the_network_classifies_each_pixel_from_the_window_around_it_with_zeros_beyond_the_image() -> None:
    network, x = build("pixelwise", 3, 10, seed=0).double().eval(), image(9, 8)
    net = classifier()
    net.features, convolution = network.scores
    net.full.weight.data, net.full.bias.data = convolution.weight.data.flatten(1), convolution.bias.data
    expected = at_every_window(net, nn.functional.pad(x, (3, 3, 3, 3)), 7, 1)
    assert (network(x)[0] - expected).abs().max() <= 1e-14


@pytest.mark.parametrize("window", [3, 7, 11])
def test_it_sees_its_window_and_no_more(window: int) -> None:
    network = build("pixelwise", 1, 2, window=window, width=4, hidden=4)
    assert receptive_field(network) == ReceptiveField((window,), 1)


@pytest.mark.parametrize("window", [1, 4])
def test_a_window_without_a_middle_pixel_is_refused(window: int) -> None:
    with pytest.raises(MedsegError) as refused:
        build("pixelwise", 1, 2, window=window)
    assert refused.value.code is Code.KEYWORD_INVALID
    assert "odd" in str(refused.value)
