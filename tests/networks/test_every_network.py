"""The contract, asked of every row of the table: a new network adds one row here."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.model import onnx_graph
from medseg.networks import AUTOENCODER, NETWORKS, build
from medseg.networks.contract import Network
from medseg.networks.upsample import Way


@dataclass(frozen=True)
class Row:
    """A small variant of a network: 3 channels, 4 classes, and a size (H, W) that it takes."""

    name: str
    size: tuple[int, int]
    keywords: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.keywords.items())])


ROWS = [
    Row("usegnet", (20, 13), {"width": 2}),
    Row("usegnet", (16, 24), {"width": 2, "depth": 4, "skips": 2}),
    Row("segnet", (33, 40), {"width": 2}),
    Row("segnet_small", (20, 13), {"width": 2}),
    Row("unet", (16, 32), {"width": 2}),
    Row("unet", (188, 204), {"width": 2, "padding": "valid", "batch_norm": False, "dropout": 0.5}),
    *(Row("unet", (24, 20), {"width": 2, "depth": 2, "up": up}) for up in get_args(Way)[1:]),
    Row("unet", (24, 20), {"width": 2, "depth": 2, "down": "conv"}),
    Row("unet", (44, 60), {"width": 2, "depth": 2, "padding": "valid", "down": "conv", "batch_norm": False}),
    Row("unet_kumar", (16, 24), {"width": 2}),
    Row("unetpp", (16, 32), {"width": 2}),
    Row("unetpp", (8, 12), {"width": 2, "depth": 2, "mode": "fast", "batch_norm": False}),
    Row("unetpp", (8, 12), {"width": 2, "depth": 2, "sigmoid": True}),
    Row("unetpp", (8, 12), {"width": 2, "depth": 2, "deep_supervision": False}),
    Row("unetpp", (8, 12), {"width": 2, "depth": 2, "down": "conv", "up": "unpool"}),
    *(Row("segnet_basic", (19, 16), {"width": 2, "decoder": d}) for d in ("full", "addition", "single")),
    Row("fcn_basic", (16, 32), {"width": 2}),
    Row("fcn_basic", (16, 32), {"width": 2, "addition": False}),
    Row("fcn_basic", (16, 32), {"width": 2, "reduction": False}),
    Row("fcn_basic", (16, 32), {"width": 2, "learned": False}),
    *(Row(f"fcn{s}s", (33, 40), {"width": 2, "hidden": 4}) for s in (32, 16, 8)),
    Row("deeplab_largefov", (24, 16), {"width": 2, "hidden": 4}),
    Row("deeplab_aspp", (32, 40), {"width": 2, "hidden": 4, "scales": [0.5, 0.75, 1]}),
    Row("fcn8s", (33, 40), {"width": 2, "hidden": 4, "learned_last": True}),
    Row("fcn_alexnet", (33, 40), {"width": 4, "hidden": 4}),
    Row("fcn_alexnet", (33, 40), {"width": 4, "hidden": 4, "learned_last": True}),
    Row("fcn_googlenet", (33, 40), {"width": 16}),
    Row("deeplab_largefov", (32, 40), {"width": 2, "hidden": 4, "scales": [0.5, 1], "auxiliary": 1}),
    Row("fcn_googlenet", (33, 40), {"width": 16, "auxiliary": 0.3}),
    Row("pspnet", (32, 40), {"width": 4, "backbone": "resnet18", "auxiliary": 0.4}),
    Row("deconvnet", (224, 256), {"width": 1, "hidden": 2}),
    Row("deeplab_v3", (32, 48), {"width": 4, "hidden": 4, "backbone": "resnet18"}),
    Row("deeplab_v3", (32, 48), {"width": 16, "hidden": 4, "backbone": "mobilenetv2"}),
    Row("deeplab_v3plus", (32, 40), {"width": 4, "hidden": 4, "output_stride": 8}),
    Row("pspnet", (32, 40), {"width": 4, "backbone": "resnet18"}),
    Row("upernet", (64, 32), {"width": 4, "hidden": 4, "backbone": "resnet18"}),
    Row("unet", (64, 32), {"width": 2, "backbone": "resnet18", "backbone_width": 4}),
    Row("unet", (32, 64), {"width": 2, "backbone": "vgg16", "backbone_width": 4, "depth": 3, "up": "unpool"}),
    Row("unetpp", (32, 64), {"width": 2, "backbone": "alexnet", "backbone_width": 4}),
    Row("fcn8s", (33, 40), {"width": 8, "backbone": "googlenet"}),
    Row("deeplab_aspp", (32, 40), {"width": 4, "backbone": "resnet50", "scales": [0.5, 1]}),
    Row("fpn", (64, 32), {"width": 4, "hidden": 4, "backbone": "xception"}),
    Row("linknet", (64, 32), {"width": 8, "backbone": "mobilenetv1"}),
    Row("fpn", (64, 32), {"width": 4, "hidden": 4, "backbone": "resnet18", "up": "unpool"}),
    Row("linknet", (64, 32), {"width": 8, "up": "unpool"}),
    Row("pixelwise", (7, 12), {"width": 2, "hidden": 4}),
    Row("icnet", (64, 128), {"width": 4, "hidden": 4, "backbone": "resnet18"}),
    Row("autoencoder", (16, 32), {"width": 2}),
    Row("autoencoder", (8, 12), {"width": 2, "depth": 2, "down": "conv", "batch_norm": False}),
]


def made(row: Row, seed: int = 0) -> Network:
    return build(row.name, 3, 4, seed=seed, **row.keywords)


def batch(row: Row) -> Tensor:
    return torch.randn(2, 3, *row.size, generator=torch.Generator().manual_seed(1))


def heads(output: Tensor | list[Tensor]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else output


def gradients(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)  # dropout
    sum((h * h).sum() for h in heads(network(x))).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def without_zeros(network: nn.Module) -> nn.Module:
    """Shift every parameter, so that no layer that starts at zero hides those before it."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    return network


@pytest.fixture(autouse=True)
def deterministic() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.use_deterministic_algorithms(True)
        yield
        torch.use_deterministic_algorithms(False)


every_row = pytest.mark.parametrize("row", ROWS, ids=str)


def test_every_name_of_the_table_has_a_row() -> None:
    assert all(made(row).paper for row in ROWS)
    assert {row.name for row in ROWS} == set(NETWORKS)


@every_row
def test_logits_have_the_size_that_step_and_context_say(row: Row) -> None:
    network, x = made(row), batch(row)
    assert network.classes == (3 if row.name == AUTOENCODER else 4)
    expected = (2, network.classes, row.size[0] - 2 * network.border, row.size[1] - 2 * network.border)
    assert all(h.shape == expected for h in heads(network.train()(x)))
    logits = network.eval()(x)
    assert logits.shape == expected and logits.dtype == torch.float32
    assert all(network.size_from(side) == side for side in row.size)


@every_row
def test_gradients_reach_every_parameter_and_repeat_bit_for_bit(row: Row) -> None:
    network = without_zeros(made(row)).train()
    twin, x = copy.deepcopy(network), batch(row)
    found, again = gradients(network, x), gradients(twin, x)
    assert found.keys() == dict(network.named_parameters()).keys()
    assert all(bool((g != 0).any()) for g in found.values())
    assert all(torch.equal(found[key], again[key]) for key in found)


@every_row
def test_state_dict_restores_another_instance(row: Row) -> None:
    network, other, x = made(row).eval(), made(row, seed=9).eval(), batch(row)
    without_zeros(network)
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(x), other(x))


@every_row
def test_same_seed_same_weights_and_the_global_generator_is_left_alone(row: Row) -> None:
    before = torch.random.get_rng_state()
    one, two = made(row).state_dict(), made(row).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], two[key]) for key in one)


@every_row
def test_channels_last_gives_the_same_logits(row: Row) -> None:
    network, x = without_zeros(made(row)).double().eval(), batch(row).double()
    plain = network(x)
    turned = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(turned, plain, rtol=1e-9, atol=1e-9)


@every_row
def test_impossible_input_is_refused_with_the_size_to_use(row: Row) -> None:
    network = made(row).eval()
    with pytest.raises(MedsegError) as channels:
        network(batch(row)[:, :2])
    assert channels.value.code is Code.SIZE_IMPOSSIBLE
    assert "2 channels, the network takes 3" in str(channels.value)
    if network.size_divisor == 1:
        return
    height, width = row.size
    with pytest.raises(MedsegError) as size:
        network(torch.zeros(1, 3, height + 1, width))
    assert size.value.code is Code.SIZE_IMPOSSIBLE
    assert f"pad it to {height + network.size_divisor}×{width}" in str(size.value)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("row", {row.name: row for row in ROWS}.values(), ids=str)
def test_exported_and_compiled_forms_agree_with_eager(row: Row) -> None:
    network, x = without_zeros(made(row)).double().eval(), batch(row).double()
    with torch.no_grad():
        plain = network(x)
        exported = torch.export.export(network, (x,)).module()(x)
        torch.testing.assert_close(exported, plain, rtol=1e-9, atol=1e-9)
        compiled = torch.compile(network, fullgraph=True)(x)
        torch.testing.assert_close(compiled, plain, rtol=1e-9, atol=1e-9)


FIXED_SIZE = {"fcn16s", "fcn8s", "deeplab_aspp", "pspnet", "upernet", "icnet"}
"""Networks whose ONNX graph holds for one height and width: torch cannot capture their forms with free sides.
So it is with scales. There is none that cannot be written at all."""


@pytest.mark.long
@pytest.mark.timeout(900)
@every_row
def test_graphs_in_both_runtimes_agree_with_eager(row: Row, tmp_path: Path) -> None:
    import openvino

    network, x = without_zeros(made(row)).eval(), batch(row)
    free = onnx_graph.write(tmp_path / "a.onnx", network, row.size)
    assert free == (row.name not in FIXED_SIZE and "scales" not in row.keywords)
    if free:
        x = torch.nn.functional.pad(x, (0, 2 * network.size_divisor, 0, network.size_divisor))
    slabs = x[:1].numpy()
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (by_onnx,) = session.run(["logits"], {"slabs": slabs})
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    by_openvino = openvino.Core().compile_model(str(tmp_path / "a.onnx"), "CPU", hint)(slabs)[0]
    with torch.no_grad():
        plain = network(x[:1]).numpy()
    for found in (by_onnx, by_openvino):
        assert np.abs(found - plain).max() <= 1e-4 * np.abs(plain).max()
