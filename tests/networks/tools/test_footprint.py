"""Memory of a forward pass: by hand, and a bound at every size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medseg.networks import build
from medseg.networks.contract import Network
from medseg.networks.tools.footprint import bytes_per_pixel


class Two(Network):
    def __init__(self) -> None:
        super().__init__(1, 1)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


def test_by_hand() -> None:
    with torch.device("meta"):
        network = Two()
    # one channel of input stays, and the most at a time are four and two: 7 float32
    assert bytes_per_pixel(network) == 28


@pytest.mark.parametrize(
    "keywords",
    [
        {"width": 64, "depth": 4, "padding": "valid", "batch_norm": False, "dropout": 0.5},
        {"width": 16, "depth": 3, "padding": "valid"},
    ],
)
def test_smaller_inputs_take_less_a_pixel(
    keywords: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        network = build("unet", 3, 4, **keywords)
    most = bytes_per_pixel(network)
    for side in (network.size_from(1), 572, 3000):
        monkeypatch.setattr("medseg.networks.tools.footprint._SIDE", side)
        assert 0 < bytes_per_pixel(network) < most
