"""Receptive fields against the papers', against trial by gradients, and against changing single pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.networks import NETWORKS, build, describe
from medseg.networks.contract import Network
from medseg.networks.tools.receptive_field import ReceptiveField, receptive_field
from medseg.networks.upsample import Way
from tests.oracles.receptive_field import receptive_field as by_trial


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
        ("fcn32s", {}, "backbone.stages.4", (196,), 16),
        ("fcn32s", {}, "backbone.pools.4", (212,), 32),
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
        network = build("deeplab_v3", 3, 4, backbone="resnet18")
    assert receptive_field(network) is None


def test_description_of_a_network_for_info() -> None:
    assert describe("usegnet") == {
        "name": "usegnet",
        "keywords": {"width": 64, "depth": 3, "skips": 1, "packed_positions": False},
        "channels": 3,
        "classes": 4,
        "parameters": 3_483_652,
        "receptive_field": [76, 84],
        "paper": "Kumar, Nagar, Arora, Gupta 2018",
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_table_agrees_with_trial(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 3, 4)
    assert receptive_field(network) == by_trial(network)


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        *(("unet", {"depth": 2, "up": up}) for up in get_args(Way)),
        ("unetpp", {"depth": 2, "sigmoid": True}),
        ("unetpp", {"depth": 2, "mode": "fast"}),
        ("fcn_basic", {"learned": False}),
        ("fcn_basic", {"addition": False}),
        ("segnet_basic", {"decoder": "single"}),
        ("deeplab_aspp", {"scales": [0.75]}),
        ("deeplab_aspp", {"scales": [0.5]}),
        ("usegnet", {"depth": 4, "skips": 0}),
    ],
)
def test_variants_agree_with_trial(name: str, keywords: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = build(name, 3, 4, **keywords)
    assert receptive_field(network) == by_trial(network)


def test_of_several_scales_the_one_that_sees_most_counts() -> None:
    network = build("deeplab_aspp", 1, 2, width=1, hidden=1, scales=[0.5, 1])
    assert receptive_field(network) == ReceptiveField((1224,), 1)


class Stack(Network):
    """Layers in a row and a connection around the first of them."""

    def __init__(self, layers: list[nn.Module], size_divisor: int) -> None:
        super().__init__(1, 1)
        self.layers = nn.Sequential(*layers)
        self.size_divisor = size_divisor

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self.layers
        y = x + first(x)
        for layer in rest:
            y = layer(y)
        return y


def layer(kind: str, kernel: int, rate: int) -> nn.Module:
    match kind:
        case "conv":
            return nn.Conv2d(1, 1, kernel, padding=rate * (kernel // 2), dilation=rate)
        case "strided":
            return nn.Conv2d(1, 1, 3, stride=2, padding=1)
        case "pool":
            return nn.MaxPool2d(2)
        case "overlapping":
            return nn.MaxPool2d(3, 2, 1)
        case "mean":
            return nn.AvgPool2d(2)
    return nn.ConvTranspose2d(1, 1, 2 * rate, 2, rate - 1)


KINDS = st.sampled_from(["conv", "strided", "pool", "overlapping", "mean", "up"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(KINDS, st.sampled_from([1, 3, 5]), st.integers(1, 2)), max_size=6))
def test_any_stack_of_layers_agrees_with_trial(kinds: list[tuple[str, int, int]]) -> None:
    halved = sum(kind in ("strided", "pool", "overlapping", "mean") for kind, _, _ in kinds)
    network = Stack([layer("conv", 3, 1), *(layer(*kind) for kind in kinds)], 2**halved)
    field = receptive_field(network)
    assert field is not None
    if field.stride:  # an output finer than the image has no whole number of pixels between
        assert field == by_trial(network)


def test_the_field_is_the_same_in_inference_mode() -> None:
    network = build("unet", 1, 2, width=2, depth=2)
    with torch.inference_mode():
        inside = receptive_field(network)
    assert inside is not None and inside == receptive_field(network)


def test_an_unknown_operation_counts_as_seeing_all_rows() -> None:
    class Turned(Network):
        def forward(self, x: Tensor) -> Tensor:
            return torch.roll(x, 1, 2)

    assert receptive_field(Turned(1, 1)) is None


def test_all_networks_are_described_fast_and_without_torchs_compiler() -> None:
    code = (
        "import json, sys, time, torch; from medseg import networks; start = time.process_time();"
        "rows = [networks.describe(name) for name in networks.NETWORKS];"
        "print(json.dumps([len(rows), time.process_time() - start, 'torch._dynamo' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    count, seconds, compiler = json.loads(done.stdout)
    assert count == len(NETWORKS)
    assert not compiler
    assert seconds < 2  # by trial 5; it takes 1
