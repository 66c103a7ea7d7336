"""Receptive fields against the papers', and against changing single pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.networks import build, describe
from medseg.networks.tools.receptive_field import ReceptiveField, receptive_field


@pytest.mark.parametrize(
    ("name", "keywords", "layer", "widths", "stride"),
    [
        ("unet", {"depth": 1, "padding": "valid"}, "", (18,), 1),
        ("unet", {"depth": 2, "padding": "valid"}, "", (44,), 1),
        ("unet", {"depth": 3, "padding": "valid"}, "", (92, 100), 1),
        ("unet", {"depth": 4, "padding": "valid"}, "", (188, 204), 1),
        ("unet", {"depth": 4}, "", (188, 204), 1),
        ("unet", {"padding": "valid"}, "bottom", (140,), 16),
        ("usegnet", {}, "encoders.2", (40,), 4),
        ("usegnet", {}, "pool", (44,), 8),
        ("fcn32s", {}, "body.stages.4", (196,), 16),
        ("fcn32s", {}, "body.pools.4", (212,), 32),
        ("fcn32s", {}, "score", (404,), 32),
        ("segnet_basic", {}, "pool", (106,), 16),
        ("fcn_alexnet", {}, "score", (355,), 32),
        ("fcn_googlenet", {}, "score", (907,), 32),
    ],
)
def test_field_and_stride(
    name: str, keywords: dict[str, Any], layer: str, widths: tuple[int, ...], stride: int
) -> None:
    with torch.device("meta"):
        network = build(name, 3, 4, **keywords)
    assert receptive_field(network, layer) == ReceptiveField(widths, stride)


def test_no_pixel_outside_the_field_matters_and_those_inside_can() -> None:
    network = build("unet", 1, 2, seed=0, width=4, depth=2, batch_norm=False).double().eval()
    field = receptive_field(network)
    assert field is not None
    x = torch.zeros(1, 1, 96, 4, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    changing = set()
    for row in range(96):
        for _ in range(5):
            x.normal_(generator=generator)
            other = x.clone()
            other[0, 0, row] += 10
            if not torch.equal(network(x)[..., 48, :], network(other)[..., 48, :]):
                changing.add(row)
                break
    width = max(changing) - min(changing) + 1
    assert width <= max(field.widths)
    assert width >= max(field.widths) - 4


def test_tracing_leaves_the_network_alone() -> None:
    network = build("segnet_small", 1, 2, seed=0, width=2).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    receptive_field(network)
    assert not network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not network._forward_hooks


def test_a_mean_over_the_image_sees_the_whole_of_it() -> None:
    with torch.device("meta"):
        network = build("deeplab_v3", 3, 4, body="resnet18")
    assert receptive_field(network) is None


def test_description_of_a_network_for_info() -> None:
    assert describe("usegnet") == {
        "name": "usegnet",
        "keywords": {"width": 64, "depth": 3, "skips": 1},
        "channels": 3,
        "classes": 4,
        "parameters": 3_483_652,
        "receptive_field": [76, 84],
        "paper": "Kumar, Nagar, Arora, Gupta 2018",
    }
