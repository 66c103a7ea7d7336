"""The table of docs/networks.md: every network's parameters beside its paper's, counted when it is made.

The figures themselves are asserted one by one in test_parameter_counts.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medseg.networks import NETWORKS, build
from medseg.networks.backbones import BodyName, make_body
from medseg.networks.vgg import VGG16, VGG16Classifier

PAGE = Path(__file__).parents[2] / "docs/networks.md"
BEGIN, END = "<!-- the table, made by tests/networks/test_counts_page.py -->", "<!-- end of the table -->"

KUMAR = "Kumar, Nagar, Arora, Gupta 2018"
ZHOU = "Zhou, Siddiquee, Tajbakhsh, Liang 2018"
BADRINARAYANAN = "Badrinarayanan, Kendall, Cipolla 2017"
LONG = "Long, Shelhamer, Darrell 2015"


@dataclass(frozen=True)
class Row:
    """What is counted, and the published figure: as printed, in units or in millions (M)."""

    name: str
    paper: str
    shape: tuple[int, int]
    published: str = ""
    checked: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ("",)  # of the network, by name
    without: str = "nothing"  # parts left out
    kernels: bool = False  # kernels alone: no biases, no normalisation
    more: int = 0  # parameters of what the published count has and a body has not
    title: str = ""
    unchecked: bool = False  # nobody worked the count out beforehand

    def count(self) -> int:
        with torch.device("meta"):
            made = _made(self)
        named = [n for part in self.parts for n in made.get_submodule(part).named_parameters()]
        kept = [p for name, p in named if not name.startswith(self.without)]
        return self.more + sum(p.numel() for p in kept if p.ndim == 4 or not self.kernels)

    def cells(self) -> list[str]:
        words = " ".join([self.name, *(f"{k}={_word(v)}" for k, v in self.keywords.items())])
        title = f"`{words}`" + (f" {self.title}" if self.title else "")
        shape = f"{self.shape[0]} → {self.shape[1]}"
        count = self.count()
        verdict = "unchecked" if self.unchecked else compared(count, self.published)
        return [title, self.paper, shape, f"{count:,}", self.published or "–", verdict, self.checked or "–"]


def _made(row: Row) -> nn.Module:
    channels, classes = row.shape
    if row.name in NETWORKS:
        return build(row.name, channels, classes, **row.keywords)
    if row.name == "VGG16Classifier":
        return VGG16Classifier(channels, classes)
    bodies: dict[str, BodyName] = {
        "ResNet-18": "resnet18",
        "ResNet-50": "resnet50",
        "ResNet-101": "resnet101",
    }
    return (
        VGG16(channels) if row.name == "VGG16" else make_body(bodies.get(row.name, "mobilenetv2"), channels)
    )


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def compared(count: int, published: str) -> str:
    """How a count stands to a figure as it is printed."""
    if not published:
        return "exact by our count"
    figure = published.split()[0].replace(",", "").removeprefix("≈")
    if "M" not in published:
        return "exact" if count == int(figure) else "not reproduced"
    digits = len(figure.partition(".")[2])
    apart = count / (float(figure) * 1e6) - 1
    if round(count / 1e6, digits) == float(figure):
        return "exact"
    return f"{'within 1 %' if abs(apart) <= 0.01 else 'not reproduced'} ({100 * apart:+.2f} %)"


UNET = {"batch_norm": False}
ONE_HEAD = {"batch_norm": False, "deep_supervision": False}

ROWS = [
    Row("segnet_small", KUMAR, (3, 4), "3,475,396"),
    Row("usegnet", KUMAR, (3, 4), "3,483,652", "receptive field 40 px, its patch"),
    Row("usegnet", KUMAR, (3, 4), checked="our reading of U-SegNet-2", keywords={"skips": 2}),
    Row("unet_kumar", KUMAR, (3, 4), "3,900,996", "one of several readings with this count"),
    Row(
        "unet",
        "Ronneberger, Fischer, Brox 2015",
        (1, 2),
        "≈31.0 M",
        "572 → 388 px; sees 188 or 204 px; tiles equal one shot",
        {"padding": "valid"} | UNET,
    ),
    Row("unet", ZHOU, (1, 1), "7.76 M", "7,759,521 in the authors' code", {"width": 32} | UNET),
    Row(
        "unet", ZHOU, (1, 1), "9.13 M", "9,282,246 in the authors' code", {"width": 35} | UNET, title="(wide)"
    ),
    Row("unetpp", ZHOU, (1, 1), "9.04 M", "9,041,601 in the authors' code", ONE_HEAD),
    Row("unetpp", ZHOU, (1, 1), "9.04 M", "each pruned network equals its head", UNET, title="(four heads)"),
    Row("unetpp", ZHOU, (3, 1), keywords=UNET, title="(four heads)"),
    Row("unetpp", ZHOU, (1, 2), keywords=UNET, title="(four heads)"),
    *(
        Row("unetpp", ZHOU, (1, 1), keywords=ONE_HEAD | {"depth": depth}, title=f"(pruned L{depth})")
        for depth in (1, 2, 3)
    ),
    Row(
        "VGG16Classifier",
        "Simonyan, Zisserman 2015",
        (3, 1000),
        "138 M",
        "FCN-32s filled from it gives its scores",
    ),
    Row(
        "VGG16",
        "Simonyan, Zisserman 2015",
        (3, 512),
        "14.7 M",
        "sees 196, 212, 404 px",
        title="(13 convolutions)",
    ),
    Row(
        "segnet",
        BADRINARAYANAN,
        (3, 11),
        "14.7 M",
        "same convolutions",
        parts=("encoders",),
        title="(its encoders)",
    ),
    Row("segnet", BADRINARAYANAN, (3, 11)),
    Row("segnet", BADRINARAYANAN, (3, 12)),
    Row("segnet_basic", BADRINARAYANAN, (3, 11), "1.425 M", "sees 106 px; no ReLU in its decoder"),
    Row("segnet_basic", BADRINARAYANAN, (3, 11), "1.425 M", keywords={"bias": True}),
    Row(
        "segnet_basic",
        BADRINARAYANAN,
        (3, 11),
        "1.425 M",
        keywords={"decoder": "addition"},
        kernels=True,
        title="(kernels)",
    ),
    Row(
        "segnet_basic",
        BADRINARAYANAN,
        (3, 11),
        "0.625 M",
        keywords={"decoder": "single"},
        kernels=True,
        title="(kernels)",
    ),
    Row("fcn_basic", BADRINARAYANAN, (3, 11), "0.65 M", kernels=True, title="(kernels)"),
    *(
        Row(
            "fcn_basic",
            BADRINARAYANAN,
            (3, 11),
            published,
            keywords=keywords,
            kernels=True,
            title="(kernels)",
        )
        for published, keywords in (
            ("0.65 M", {"addition": False}),
            ("1.625 M", {"reduction": False}),
            ("1.625 M", {"reduction": False, "addition": False}),
            ("0.625 M", {"learned": False}),
        )
    ),
    Row(
        "fcn32s",
        LONG,
        (3, 21),
        "134 M",
        "sees 404 px; equals the classifier at the centre",
        without="ups",
    ),
    Row("fcn16s", LONG, (3, 21), "134 M", "starts as 32s enlarged in its steps", without="ups"),
    Row("fcn8s", LONG, (3, 21), "134 M", "starts as 16s enlarged in its steps", without="ups"),
    Row("fcn_alexnet", LONG, (3, 21), "57 M", "sees 355 px"),
    Row("fcn_googlenet", LONG, (3, 21), "6 M", "sees 907 px; no auxiliary heads"),
    Row(
        "deeplab_largefov",
        "Chen, Papandreou, Kokkinos, Murphy, Yuille 2015",
        (3, 21),
        "20.5 M",
        "features at stride 8; scales fused by their maximum",
    ),
    Row("deeplab_aspp", "DeepLab v2: Chen et al. 2017", (3, 21), checked="scores are its branches' sum"),
    Row("deeplab_v3", "Chen et al. 2017", (3, 21), checked="rates keep strides' features", unchecked=True),
    Row("deeplab_v3", "Chen et al. 2017", (3, 21), parts=("aspp", "head"), title="(ASPP and classifier)"),
    Row("deeplab_v3plus", "Chen et al. 2018", (3, 21), unchecked=True),
    Row(
        "deeplab_v3plus",
        "Chen et al. 2018",
        (3, 21),
        parts=("low", "decoder", "head"),
        title="(its decoder)",
    ),
    Row("ResNet-18", "He et al. 2016", (3, 1000), "11,689,512", more=513_000, title="(body and classifier)"),
    Row(
        "ResNet-50", "He et al. 2016", (3, 1000), "25,557,032", more=2_049_000, title="(body and classifier)"
    ),
    Row(
        "ResNet-101", "He et al. 2016", (3, 1000), "44,549,160", more=2_049_000, title="(body and classifier)"
    ),
    Row(
        "MobileNetV2",
        "Sandler et al. 2018",
        (3, 1000),
        "3,504,872",
        more=320 * 1280 + 2 * 1280 + 1_281_000,
        title="(body and classifier)",
    ),
    Row(
        "pixelwise",
        "Cireșan et al. 2012, as convolutions",
        (3, 10),
        checked="equals the classifier at every window",
    ),
    Row("deconvnet", "Noh, Hong, Han 2015", (3, 21), unchecked=True),
    Row("pspnet", "Zhao, Shi, Qi, Wang, Jia 2017", (3, 21), unchecked=True),
    Row("upernet", "Xiao, Liu, Zhou, Jiang, Sun 2018", (3, 21), unchecked=True),
    Row("icnet", "Zhao, Qi, Shen, Shi, Jia 2018", (3, 21), unchecked=True),
]


def counts_table() -> str:
    """The table between its marks."""
    heads = ["name, keywords", "paper", "in → classes", "here", "published", "count", "what else is checked"]
    lines = [BEGIN, *("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads)))]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in ROWS]
    return "\n".join([*lines, END])


def page_with_table(page: str) -> str:
    """The page with the table made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + counts_table() + rest.partition(END)[2]


def test_the_table_of_the_page_is_what_is_counted() -> None:
    page = PAGE.read_text()
    assert page_with_table(page) == page, "write page_with_table() to docs/networks.md"


def test_every_network_stands_in_the_table() -> None:
    assert {row.name for row in ROWS} >= set(NETWORKS)


@pytest.mark.parametrize(
    ("count", "published", "verdict"),
    [
        (3_483_652, "3,483,652", "exact"),
        (3_483_653, "3,483,652", "not reproduced"),
        (31_030_658, "≈31.0 M", "exact"),
        (1_416_075, "1.425 M", "within 1 % (-0.63 %)"),
        (9_282_246, "9.13 M", "not reproduced (+1.67 %)"),
        (5, "", "exact by our count"),
    ],
)
def test_how_a_count_stands_to_a_printed_figure(count: int, published: str, verdict: str) -> None:
    assert compared(count, published) == verdict


def test_which_published_counts_are_not_reproduced() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if "| not reproduced" in line]
    assert [cells[4] for cells in rows] == ["9.13 M", "0.65 M", "1.625 M", "1.625 M", "0.625 M"]
