"""Every backbone by name: counts, strides, rates, cuts; and every network on some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks import build, reference
from medseg.networks.backbones import BackboneName, MonaiName, OwnName, make_backbone, make_contracting_path

PAGE = Path(__file__).parents[2] / "docs/networks.md"
NAMES = get_args(BackboneName)
NARROW = [name for name in get_args(OwnName) if name not in ("resnet101", "resnet152")]
ONE_OF_EACH_FAMILY = ("densenet121", "seresnext50", "efficientnet-b0")


@pytest.fixture(autouse=True)
def seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def image(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(3))


def levels(backbone: nn.Module, channels: int = 3) -> list[Tensor]:
    with torch.device("meta"), torch.no_grad():
        return list(backbone(torch.zeros(2, channels, 64, 96)))


@pytest.mark.filterwarnings("ignore")  # MONAI's own, at import
@pytest.mark.parametrize("name", NAMES)
def test_counts_equal_the_published_classifiers_and_levels_have_their_strides(name: BackboneName) -> None:
    published = reference.CLASSIFIERS[name].published
    expected = "within 1 % (-0.98 %)" if name == "efficientnet-b2" else "exact"
    assert reference.compared(reference.classifier_count(name), published) == expected
    with torch.device("meta"):
        backbone = make_backbone(name, 3)
    outputs = levels(backbone)
    assert [level.shape[1] for level in outputs] == backbone.widths
    assert [level.shape[2:] for level in outputs] == [(64 // s, 96 // s) for s in (2, 4, 8, 16, 32)]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet34", 21_797_672),
        ("resnet152", 60_192_808),
        ("densenet121", 7_978_856),
        ("mobilenetv1", 4_231_976),
        ("xception", 22_855_952),
        ("vit_b16", 86_567_656),
    ],
)
def test_counts_that_papers_or_their_code_state(name: BackboneName, count: int) -> None:
    assert reference.classifier_count(name) == count


@pytest.mark.parametrize("name", [*get_args(OwnName), *ONE_OF_EACH_FAMILY])
@pytest.mark.parametrize("stride", [8, 16])
def test_levels_go_down_to_the_output_stride(name: BackboneName, stride: int) -> None:
    with torch.device("meta"):
        outputs = levels(make_backbone(name, 3, output_stride=stride))
    assert [64 // level.shape[2] for level in outputs] == [min(s, stride) for s in (2, 4, 8, 16, 32)]


def without_attention(name: BackboneName, stride: int) -> nn.Module:
    """A small body, without the means over the whole image that strides change."""
    backbone = make_backbone(name, 1, width=64 if name in get_args(MonaiName) else 8, output_stride=stride)
    for module in backbone.modules():
        if hasattr(module, "has_se"):
            module.has_se = False
    return backbone.double().eval()


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "googlenet", "resnet18", "resnet50", "mobilenetv1", "mobilenetv2", "xception"),
        *("densenet121", "efficientnet-b0"),
    ],
)
@pytest.mark.parametrize("stride", [8, 16])
def test_rates_in_place_of_strides_keep_the_features_where_both_exist(
    name: BackboneName, stride: int
) -> None:
    coarse, fine = (without_attention(name, s) for s in (32, stride))
    fine.load_state_dict(coarse.state_dict())
    x = image(1, 96, 64).double()
    apart = 32 // stride
    with torch.no_grad():
        torch.testing.assert_close(fine(x)[4][..., ::apart, ::apart], coarse(x)[4])


@pytest.mark.parametrize(("name", "natural"), [("vit_b16", 16), ("swin_t", 32)])
def test_bodies_without_strided_convolutions_refuse_rates_with_the_stride_they_have(
    name: BackboneName, natural: int
) -> None:
    with torch.device("meta"), pytest.raises(MedsegError) as refused:
        build("pspnet", 3, 4, backbone=name)
    assert refused.value.code is Code.KEYWORD_INVALID
    assert f"write output_stride: {natural}" in str(refused.value)
    with torch.device("meta"):
        network = build("pspnet", 3, 4, backbone=name, output_stride=natural)
        assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 4, 64, 96)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet18", "mobilenetv2", "xception", "densenet121"])
@pytest.mark.parametrize("count", [1, 3])
def test_cut_backbones_have_the_first_levels_and_no_other_layers(name: BackboneName, count: int) -> None:
    with torch.device("meta"):
        full = make_contracting_path(name, 3, width=64, levels=5)
        cut = make_contracting_path(name, 3, width=64, levels=count)
    assert [level.shape for level in levels(cut)] == [level.shape for level in levels(full)[:count]]
    assert cut.widths == full.widths[:count]
    assert reference.parameters(cut) < reference.parameters(full)


@pytest.mark.parametrize(
    ("network", "keywords", "words"),
    [
        ("unet", {"backbone": "resnet18", "padding": "valid"}, "padding='valid' with a backbone"),
        ("unet", {"backbone": "resnet18", "depth": 6}, "use at most 5"),
        ("unetpp", {"backbone": "resnet18", "depth": 6}, "use at most 5"),
        ("fpn", {"backbone": "densenet121", "width": 32}, "published channels alone"),
        ("fpn", {"backbone": "alexnet", "width": 6}, "multiple of 4"),
        ("fpn", {"backbone": "resnet35"}, "'resnet34'"),
    ],
)
def test_what_a_backbone_cannot_be_is_refused_in_one_line(
    network: str, keywords: dict[str, Any], words: str
) -> None:
    with torch.device("meta"), pytest.raises(MedsegError) as refused:
        build(network, 3, 4, **keywords)
    assert refused.value.code is Code.KEYWORD_INVALID
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backbone", ["alexnet", "resnet34", "densenet121"])
def test_every_network_runs_on_backbones_of_each_kind(backbone: str) -> None:
    for network in reference.networks_with_backbone():
        with torch.device("meta"), torch.no_grad():
            made = build(network, 5, 4, backbone=backbone)
            side = made.size_from(64)
            assert made.eval()(torch.zeros(1, 5, side, 2 * side)).shape == (1, 4, side, 2 * side)


def test_fcn_on_alexnet_is_the_papers() -> None:
    assert reference.network_count("fcn32s", "alexnet") == 56_954_261


def test_deeplab_v2_on_resnet101_scores_its_features_at_four_rates() -> None:
    body = 44_549_160 - 2_049_000
    assert (
        reference.network_count("deeplab_aspp", "resnet101") == body + 4 * (9 * 2048 * 21 + 21) == 44_048_532
    )


def test_page_has_the_tables_with_a_row_of_every_backbone() -> None:
    page = PAGE.read_text()
    section = page.partition(reference.BEGIN)[2].partition(reference.END)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [*NAMES, *NAMES]
    networks = reference.networks_with_backbone()
    heads = [line for line in section.splitlines() if line.startswith("|  |")]
    assert heads == ["| " + " | ".join(["", *(f"`{name}`" for name in networks)]) + " |"]
    printed = {row.split("`")[1]: row.strip("| ").split(" | ")[1:] for row in rows[len(NAMES) :]}
    for i, network in enumerate(networks):
        for backbone in ("resnet18", "alexnet"):
            count = reference.network_count(network, backbone)
            assert count is not None and printed[backbone][i] == f"{count / 1e6:.3f}"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_tables_of_the_page_are_what_is_counted() -> None:
    page = PAGE.read_text()
    assert reference.page_with_tables(page) == page, "run python -m medseg.networks.reference"
