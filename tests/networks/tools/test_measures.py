"""Numbers by which papers describe networks: those of FCN's and SegNet's tables, and plain counting."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from medseg.networks import build
from medseg.networks.tools.measures import measure


def on_meta(name: str, channels: int, classes: int, **keywords: Any) -> Any:
    with torch.device("meta"):
        return build(name, channels, classes, **keywords)


@pytest.mark.parametrize(
    ("name", "layers", "convolutions"), [("fcn_alexnet", 8, 8), ("fcn32s", 16, 16), ("fcn_googlenet", 22, 58)]
)
def test_layers_and_stride_are_those_of_fcns_table_1(name: str, layers: int, convolutions: int) -> None:
    counts = measure(on_meta(name, 3, 21), (500, 500))
    assert (counts.conv_layers, counts.max_stride, counts.convolutions) == (layers, 32, convolutions)


@pytest.mark.parametrize(
    ("name", "keywords", "multiplier"),
    [
        ("fcn_basic", {"learned": False, "addition": False}, 0),
        ("segnet_basic", {}, 1),
        ("segnet_basic", {"packed_positions": True}, 1),
        ("segnet_basic", {"decoder": "addition"}, 64),
        ("segnet_basic", {"decoder": "single"}, 1),
        ("fcn_basic", {}, 11),
        ("fcn_basic", {"addition": False}, 0),
        ("fcn_basic", {"reduction": False}, 64),
        ("fcn_basic", {"reduction": False, "addition": False}, 0),
        ("unet", {"width": 8}, 8),
    ],
)
def test_the_storage_multiplier_is_that_of_segnets_table_1(
    name: str, keywords: dict[str, Any], multiplier: float
) -> None:
    assert measure(on_meta(name, 3, 11, **keywords), (96, 128)).storage_multiplier == multiplier


@pytest.mark.parametrize(
    ("name", "keywords", "positions"),
    [
        ("segnet_basic", {}, 64 * (48 * 64 + 24 * 32 + 12 * 16 + 6 * 8)),
        ("segnet_basic", {"packed_positions": True}, 64 * (48 * 64 + 24 * 32 + 12 * 16 + 6 * 8)),
        ("unet", {"up": "unpool"}, 0),  # found again in the skips
        ("fcn_basic", {}, 0),
    ],
)
def test_kept_positions_are_counted(name: str, keywords: dict[str, Any], positions: int) -> None:
    assert measure(on_meta(name, 3, 11, **keywords), (96, 128)).positions == positions


@pytest.mark.parametrize("name", ["unetpp", "usegnet", "deeplab_v3plus"])
def test_memory_and_kernels_agree_with_a_real_pass(name: str) -> None:
    size = {"width": 4, **({"depth": 2} if name == "unetpp" else {})}
    network, real = on_meta(name, 3, 2, **size), build(name, 3, 2, seed=0, **size).eval()
    outputs: list[torch.Size] = []
    for module in real.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda *call: outputs.append(call[2].shape))
    counts = measure(network, (64, 64))
    with torch.no_grad():
        real(torch.zeros(1, 3, *counts.size))
    assert [layer.output for layer in counts.layers] == [tuple(shape[1:]) for shape in outputs]
    assert sum(layer.megabytes for layer in counts.layers) == sum(4 * math.prod(s) for s in outputs) / 2**20
    kernels = [m.weight for m in real.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert counts.kernels == sum(kernel.numel() for kernel in kernels)
    assert counts.parameters == sum(p.numel() for p in real.parameters())
