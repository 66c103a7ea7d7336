"""Layers that train one after another: their order, their phases by hand, and what moves when."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg import networks
from medseg.errors import Code, MedsegError
from medseg.networks.contract import Network
from medseg.networks.tools.layers import in_order
from medseg.train.optim import Phase
from medseg.train.unfreeze import layer_by_layer
from tests.helpers.tiny_training import TinyNet, plan, run, weights

LAYERS = [("a.weight", "a.bias"), ("b.weight",), ("c.weight",)]


def split(epochs: int, *layers: str, alone: bool = False) -> list[tuple[int, tuple[str, ...]]]:
    phase = Phase(epochs, 0.1, layers or ("*",))
    return [(p.epochs, p.layers) for p in layer_by_layer(phase, LAYERS, "train.phases.0.epochs", alone=alone)]


def test_phases_by_hand() -> None:
    c, b, a = ("c.weight",), ("b.weight",), ("a.weight", "a.bias")
    assert split(3) == [(1, c), (1, b + c), (1, a + b + c)]
    assert split(8) == [(2, c), (2, b + c), (4, a + b + c)]
    assert split(4, alone=True) == [(1, c), (1, b), (2, a)]
    assert split(5, "a.bias", "c.*") == [(2, c), (3, ("a.bias", "c.weight"))]
    assert split(5, "d.*") == [(5, ("d.*",))]


def test_fewer_epochs_than_layers_are_refused_by_key() -> None:
    with pytest.raises(MedsegError, match=r"2 epochs for 3 layers.*make them 3 or more") as refusal:
        split(2)
    assert (refusal.value.code, refusal.value.finding.where) == (
        Code.KEYWORD_INVALID,
        "train.phases.0.epochs",
    )


class Backwards(Network):
    """Defined from the last layer to the first; one convolution runs twice, one never."""

    def __init__(self, channels: int = 3, classes: int = 2) -> None:
        super().__init__(channels, classes)
        self.never = nn.Conv2d(1, 1, 1)
        self.last = nn.Conv2d(4, classes, 1)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 1)
        self.first = nn.Conv2d(channels, 4, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.twice(self.twice(self.norm(self.first(x * self.scale)))))
        return logits


def test_layers_come_as_they_run() -> None:
    with torch.device("meta"):
        network = Backwards()
    assert in_order(network, (8, 8)) == [
        ("scale",),
        ("first.weight", "norm.weight", "norm.bias"),
        ("twice.weight", "twice.bias"),
        ("last.weight", "last.bias"),
        ("never.weight", "never.bias"),
    ]
    assert not network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


class Unknown(Backwards):
    """Runs what the meta device does not know."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")


def test_without_the_meta_device_layers_come_as_they_are_defined() -> None:
    with torch.device("meta"):
        first, *_, last = in_order(Unknown(), (8, 8))
    assert (first, last) == (("scale",), ("first.weight",))


@pytest.mark.parametrize(
    ("name", "keywords", "first", "last", "count"),
    [
        ("usegnet", {}, "encoders.0.0", "head", 15),
        ("unet", {"width": 2, "depth": 2}, "", "head", None),
        ("fcn8s", {"width": 2, "hidden": 4}, "backbone", "skip_scores.1", None),
        ("monai.networks.nets:UNet", {"channels": [2, 4], "strides": [2]}, "", "", None),
    ],
)
def test_every_parameter_is_in_one_layer(
    name: str, keywords: dict[str, Any], first: str, last: str, count: int | None
) -> None:
    with torch.device("meta"):
        network = networks.build(name, 3, 4, **keywords)
    layers = in_order(network, (network.size_from(64), network.size_from(64)))
    names = [name for layer in layers for name in layer]
    assert sorted(names) == sorted(name for name, _ in network.named_parameters())
    assert layers[0][0].startswith(first)
    assert layers[-1][0].startswith(last)
    assert count is None or len(layers) == count


@pytest.mark.parametrize("alone", [False, True])
def test_layers_move_in_their_turn(tmp_path: Path, *, alone: bool) -> None:
    layers = [("encoder.weight", "encoder.bias", "norm.weight", "norm.bias"), ("head.weight", "head.bias")]
    phases = tuple(layer_by_layer(Phase(2, 0.01), layers, "", alone=alone))
    network, seen = TinyNet(), [weights(TinyNet())]
    for _ in run(tmp_path, network, plan(epochs=2, phases=phases), validate=None):
        seen.append(weights(network))  # noqa: PERF401
    parameters = [name for name, _ in network.named_parameters()]
    moved = [
        {name.split(".")[0] for name in parameters if not torch.equal(before[name], after[name])}
        for before, after in pairwise(seen)
    ]
    assert moved == [{"head"}, {"encoder", "norm"} if alone else {"encoder", "norm", "head"}]
