"""Parameters of every network beside the papers', counted on the ``meta`` device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medseg.networks import build
from medseg.networks.backbones.vgg import VGG16

PAPER_UNETPP = {"batch_norm": False, "deep_supervision": False}
PAPER_UNET = {"padding": "valid", "batch_norm": False, "dropout": 0.5}

# network, channels, classes, keywords, parameters
COUNTS: list[tuple[str, int, int, dict[str, Any], int]] = [
    ("segnet_small", 3, 4, {}, 3_475_396),
    ("usegnet", 3, 4, {}, 3_483_652),
    ("usegnet", 3, 4, {"skips": 2}, 3_516_548),  # U-SegNet-2
    ("unet_kumar", 3, 4, {}, 3_900_996),
    ("unet", 1, 2, PAPER_UNET, 31_030_658),
    ("unet", 1, 1, {"width": 32, "batch_norm": False}, 7_759_521),
    ("unet", 1, 1, {"width": 35, "batch_norm": False}, 9_282_246),  # wide U-Net
    ("unetpp", 1, 1, PAPER_UNETPP, 9_041_601),
    ("unetpp", 1, 1, PAPER_UNETPP | {"depth": 3}, 2_204_961),
    ("unetpp", 1, 1, PAPER_UNETPP | {"depth": 2}, 511_105),
    ("unetpp", 1, 1, PAPER_UNETPP | {"depth": 1}, 100_961),
    ("unetpp", 1, 1, {"batch_norm": False}, 9_041_700),
    ("unetpp", 3, 1, {"batch_norm": False}, 9_042_276),
    ("unetpp", 1, 2, {"batch_norm": False}, 9_041_832),
    ("segnet", 3, 11, {}, 29_449_355),
    ("segnet", 3, 12, {}, 29_449_932),
    ("segnet_basic", 3, 11, {}, 1_416_075),
    ("segnet_basic", 3, 11, {"bias": True}, 1_416_587),
    ("deeplab_largefov", 3, 21, {}, 20_505_429),
    ("deeplab_aspp", 3, 21, {}, 37_877_652),
    ("deeplab_aspp", 3, 21, {"backbone": "resnet101"}, 44_048_532),
    ("fcn_alexnet", 3, 21, {}, 56_954_261),
    ("fcn_googlenet", 3, 21, {}, 5_995_077),
    ("linknet", 3, 12, {}, 11_534_732),
    ("pixelwise", 3, 10, {}, 156_130),
]


def parameters(module: nn.Module, *, without: str = "nothing", kernels_only: bool = False) -> int:
    return sum(
        p.numel()
        for name, p in module.named_parameters()
        if not name.startswith(without) and (p.ndim == 4 or not kernels_only)
    )


def built(name: str, channels: int, classes: int, **keywords: Any) -> nn.Module:
    with torch.device("meta"):
        return build(name, channels, classes, **keywords)


@pytest.mark.parametrize(("name", "channels", "classes", "keywords", "expected"), COUNTS)
def test_parameters_equal_the_papers_count(
    name: str, channels: int, classes: int, keywords: dict[str, Any], expected: int
) -> None:
    assert parameters(built(name, channels, classes, **keywords)) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("fcn32s", 134_346_581), ("fcn16s", 134_357_354), ("fcn8s", 134_362_751)]
)
def test_fcn_parameters_without_enlarging_kernels(name: str, expected: int) -> None:
    assert parameters(built(name, 3, 21), without="ups") == expected


def test_vgg16_backbone_and_segnet_encoder() -> None:
    with torch.device("meta"):
        assert parameters(VGG16(3)) == 14_714_688
    encoder = built("segnet", 3, 11).get_submodule("encoders")
    assert parameters(encoder) == 14_723_136
    normalisation = [m for m in built("segnet", 3, 11).modules() if isinstance(m, nn.BatchNorm2d)]
    assert 29_449_355 - sum(parameters(m) for m in normalisation) == 29_433_483


@pytest.mark.parametrize(
    ("name", "keywords", "expected", "published"),
    [
        ("segnet_basic", {}, 1_415_040, 1.425),
        ("segnet_basic", {"decoder": "addition"}, 1_415_040, 1.425),
        ("segnet_basic", {"decoder": "single"}, 624_768, 0.625),
        ("fcn_basic", {}, 645_312, 0.65),
        ("fcn_basic", {"addition": False}, 643_200, None),  # printed as 0.65 too
        ("fcn_basic", {"reduction": False}, 1_660_800, None),  # 1.625: not reproduced
        ("fcn_basic", {"reduction": False, "addition": False}, 1_660_800, None),  # 1.625: not reproduced
        ("fcn_basic", {"learned": False}, 614_336, None),  # 0.625: not reproduced
    ],
)
def test_kernel_weights_of_segnet_table_1(
    name: str, keywords: dict[str, Any], expected: int, published: float | None
) -> None:
    weights = parameters(built(name, 3, 11, **keywords), kernels_only=True)
    assert weights == expected
    assert published is None or weights / 1e6 == pytest.approx(published, rel=0.01)


def test_deeplab_v3_pyramid_and_v3plus_decoder() -> None:
    plus = built("deeplab_v3plus", 3, 21)
    pyramid, low, decoder, head = (
        parameters(plus.get_submodule(n)) for n in ("aspp", "low", "decoder", "head")
    )
    assert pyramid == 15_535_104
    assert pyramid + head == 15_540_501
    assert (low, decoder, head) == (12_384, 700_928 + 590_336, 5_397)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deconvnet", 251_805_653),
        ("deeplab_v3", 39_048_533),
        ("deeplab_v3plus", 40_352_181),
        ("pspnet", 46_592_597),
        ("upernet", 64_032_341),
        ("icnet", 27_913_567),
        ("fpn", 28_478_933),
    ],
)
def test_counts_that_no_paper_states_stay_as_they_are(name: str, expected: int) -> None:
    assert parameters(built(name, 3, 21)) == expected
