"""Which names and keywords are built, and which are refused before anything is imported or called."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from medseg.errors import Code, MedsegError
from medseg.networks import build, check_name, keywords_of


@pytest.mark.parametrize(
    "name",
    [
        "subprocess:Popen",
        "os:system",
        "monai.networks.nets.unet:UNet",
        "monai.networks.blocks:Convolution",
        "monai.networks.nets:unet.UNet",
        "monai.networks.nets:",
        "torch.nn:Conv2d",
        "medseg.networks.unet:UNet",
        "UNet",
        "",
    ],
)
def test_name_outside_the_table_is_refused_without_import(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.networks.import_module", lambda _: pytest.fail("something was imported"))
    for attempt in (check_name, lambda n: build(n, 1, 2), keywords_of):
        with pytest.raises(MedsegError) as refused:
            attempt(name)
        assert refused.value.code is Code.NETWORK_UNKNOWN
        text = str(refused.value)
        assert "usegnet" in text or "did you mean unet?" in text


@pytest.mark.parametrize("name", ["torch", "Nope", "unet", "Discriminator", "ResBlock"])
def test_monai_name_that_is_no_segmentation_network_is_refused(name: str) -> None:
    with pytest.raises(MedsegError) as refused:
        build(f"monai.networks.nets:{name}", 1, 2)
    assert refused.value.code is Code.NETWORK_UNKNOWN


def test_monai_class_that_is_no_module_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.networks import nets

    monkeypatch.setattr(nets, "Popen", subprocess.Popen, raising=False)
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.fail("it was called"))
    with pytest.raises(MedsegError) as refused:
        build("monai.networks.nets:Popen", 1, 2, args="true")
    assert refused.value.code is Code.NETWORK_UNKNOWN


def test_without_monai_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(MedsegError) as refused:
        build("monai.networks.nets:BasicUNet", 1, 2)
    assert refused.value.code is Code.EXTRA_MISSING
    assert "medseg[train]" in str(refused.value)


def test_monai_network_keeps_the_contract() -> None:
    narrow = {"features": (2, 2, 2, 2, 2, 2)}
    plain = build("monai.networks.nets:BasicUNet", 3, 4, seed=1, **narrow)
    assert plain(torch.zeros(2, 3, 32, 64)).shape == (2, 4, 32, 64)
    deep = build(
        "monai.networks.nets:BasicUNetPlusPlus", 3, 4, deep_supervision=True, size_divisor=16, **narrow
    )
    assert [head.shape for head in deep(torch.zeros(2, 3, 32, 48))] == [(2, 4, 32, 48)] * 4
    assert deep.eval()(torch.zeros(2, 3, 32, 48)).shape == (2, 4, 32, 48)
    with pytest.raises(MedsegError) as refused:
        deep(torch.zeros(2, 3, 32, 50))
    assert "pad it to 32×64" in str(refused.value)


def test_monai_heads_of_other_sizes_are_brought_to_full_size() -> None:
    network = build("monai.networks.nets:SegResNetDS", 1, 2, init_filters=8, blocks_down=(1, 1, 1), dsdepth=2)
    assert [head.shape for head in network(torch.zeros(1, 1, 32, 32))] == [(1, 2, 32, 32)] * 2


def test_monai_network_whose_output_is_no_logits_is_refused() -> None:
    network = build("monai.networks.nets:SegResNetVAE", 1, 2, input_image_size=(32, 32), init_filters=8)
    with pytest.raises(MedsegError) as refused:
        network(torch.zeros(1, 1, 32, 32))
    assert refused.value.code is Code.NETWORK_UNKNOWN


@pytest.mark.parametrize(
    ("name", "keywords", "words"),
    [
        ("usegnet", {"widht": 8}, ["'widht'", "width=64, depth=3, skips=1"]),
        ("usegnet", {"width": 0}, ["width=0", "greater than or equal to 1"]),
        ("usegnet", {"depth": 6}, ["depth=6", "less than or equal to 5"]),
        ("unet", {"padding": "full"}, ["'full'", "'same' or 'valid'"]),
        ("unet", {"dropout": 1.0}, ["dropout=1.0"]),
        ("unet", {"return": 1}, ["'return'"]),
        ("usegnet", {"skips": 4}, ["skips=4 at depth=3", "at most 3"]),
        ("icnet", {"width": 3}, ["width=3"]),
        ("fcn_alexnet", {"width": 6}, ["multiple of 4"]),
        ("deeplab_aspp", {"rates": []}, ["rates=[]"]),
        ("monai.networks.nets:UNet", {}, ["channels"]),
        ("monai.networks.nets:UNet", {"channels": (4, 8), "strides": (2,), "chanels": 1}, ["chanels"]),
        ("monai.networks.nets:UNet", {"channels": (4,), "strides": (2,)}, ["channels"]),
    ],
)
def test_bad_keyword_is_refused_with_those_it_takes(
    name: str, keywords: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(MedsegError) as refused:
        build(name, 1, 2, **keywords)
    assert refused.value.code is Code.KEYWORD_INVALID
    assert all(word in str(refused.value) for word in words)


def test_wrong_channel_and_class_numbers_are_refused() -> None:
    for channels, classes in ((0, 2), (1, 0)):
        with pytest.raises(MedsegError) as refused:
            build("usegnet", channels, classes)
        assert refused.value.code is Code.KEYWORD_INVALID


def test_keywords_are_listed_with_defaults() -> None:
    assert keywords_of("usegnet") == {"width": 64, "depth": 3, "skips": 1, "packed_positions": False}


def test_table_needs_no_torch() -> None:
    code = "import sys, medseg.networks as n; n.check_name('unet'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
