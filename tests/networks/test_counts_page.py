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
from medseg.networks.backbones.vgg import VGG16, VGG16Classifier

PAGE = Path(__file__).parents[2] / "docs/networks.md"
BEGIN, END = "<!-- the table, made by tests/networks/test_counts_page.py -->", "<!-- end of the table -->"

KUMAR = "Kumar, Nagar, Arora, Gupta 2018"
ZHOU = "Zhou, Siddiquee, Tajbakhsh, Liang 2018"
BADRINARAYANAN = "Badrinarayanan, Kendall, Cipolla 2017"
LONG = "Long, Shelhamer, Darrell 2015"


@dataclass(frozen=True)
class Row:
    """What is counted, and the published figure: as printed, in units or in millions (M).

    Without one, ``expected`` is what the stages were found to hold when they were added up beforehand; a row
    that has neither is unchecked.
    """

    name: str
    paper: str
    shape: tuple[int, int]
    published: str = ""
    checked: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ("",)  # of the network, by name
    without: str = "nothing"  # parts left out
    kernels: bool = False  # kernels alone: no biases, no normalisation
    title: str = ""
    expected: int = 0

    def count(self) -> int:
        with torch.device("meta"):
            made = _made(self)
        named = [n for part in self.parts for n in made.get_submodule(part).named_parameters()]
        kept = [p for name, p in named if not name.startswith(self.without)]
        return sum(p.numel() for p in kept if p.ndim == 4 or not self.kernels)

    def cells(self) -> list[str]:
        words = " ".join([self.name, *(f"{k}={_word(v)}" for k, v in self.keywords.items())])
        title = f"`{words}`" + (f" {self.title}" if self.title else "")
        shape = f"{self.shape[0]} → {self.shape[1]}"
        count = self.count()
        verdict = compared(count, self.published, self.expected)
        return [title, self.paper, shape, f"{count:,}", self.published or "–", verdict, self.checked or "–"]


def _made(row: Row) -> nn.Module:
    channels, classes = row.shape
    if row.name in NETWORKS:
        return build(row.name, channels, classes, **row.keywords)
    if row.name == "VGG16Classifier":
        return VGG16Classifier(channels, classes)
    return VGG16(channels)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def compared(count: int, published: str, expected: int = 0) -> str:
    """How a count stands to a figure as it is printed or, without one, to what was expected."""
    if not published:
        if not expected:
            return "unchecked"
        return "exact by our count" if count == expected else "not reproduced"
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
    Row(
        "usegnet",
        KUMAR,
        (3, 4),
        checked="our reading of U-SegNet-2",
        keywords={"skips": 2},
        expected=3_516_548,
    ),
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
    Row("unetpp", ZHOU, (3, 1), keywords=UNET, title="(four heads)", expected=9_042_276),
    Row("unetpp", ZHOU, (1, 2), keywords=UNET, title="(four heads)", expected=9_041_832),
    *(
        Row(
            "unetpp",
            ZHOU,
            (1, 1),
            keywords=ONE_HEAD | {"depth": depth},
            title=f"(pruned L{depth})",
            expected=expected,
        )
        for depth, expected in ((1, 100_961), (2, 511_105), (3, 2_204_961))
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
    Row("segnet", BADRINARAYANAN, (3, 11), expected=29_449_355),
    Row("segnet", BADRINARAYANAN, (3, 12), expected=29_449_932),
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
    Row(
        "deeplab_aspp",
        "DeepLab v2: Chen et al. 2017",
        (3, 21),
        checked="scores are its branches' sum",
        expected=37_877_652,
    ),
    Row(
        "deeplab_aspp",
        "DeepLab v2: Chen et al. 2017",
        (3, 21),
        keywords={"backbone": "resnet101"},
        expected=44_048_532,
    ),
    Row("deeplab_v3", "Chen et al. 2017", (3, 21), checked="rates keep strides' features"),
    Row(
        "deeplab_v3",
        "Chen et al. 2017",
        (3, 21),
        parts=("aspp", "head"),
        title="(ASPP and classifier)",
        expected=15_540_501,
    ),
    Row("deeplab_v3plus", "Chen et al. 2018", (3, 21)),
    Row(
        "deeplab_v3plus",
        "Chen et al. 2018",
        (3, 21),
        parts=("low", "decoder", "head"),
        title="(its decoder)",
        expected=12_384 + 700_928 + 590_336 + 5_397,
    ),
    Row(
        "pixelwise",
        "Cireșan et al. 2012, as convolutions",
        (3, 10),
        checked="equals the classifier at every window",
        expected=(27 + 1) * 64 + (9 * 64 + 1) * 64 + (9 * 64 + 1) * 200 + (200 + 1) * 10,
    ),
    Row("deconvnet", "Noh, Hong, Han 2015", (3, 21)),
    Row("pspnet", "Zhao, Shi, Qi, Wang, Jia 2017", (3, 21)),
    Row("upernet", "Xiao, Liu, Zhou, Jiang, Sun 2018", (3, 21)),
    Row("fpn", "Kirillov, Girshick, He, Dollár 2019", (3, 21)),
    Row("linknet", "Chaurasia, Culurciello 2017", (3, 12), "11.5 M"),
    Row("icnet", "Zhao, Qi, Shen, Shi, Jia 2018", (3, 21)),
    Row(
        "autoencoder",
        "Ranzato, Huang, Boureau, LeCun 2007",
        (3, 3),
        checked="a U-Net starts from its encoder",
        expected=24_773_891,
    ),
]


COUNTED = "test_parameters_equal_the_papers_count"
SEEN = "test_field_and_stride"
FILLED = "test_fcn32s_filled_from_vgg16_gives_its_scores_at_the_windows_centre"
CHECKS = {
    "receptive field 40 px, its patch": SEEN,
    "a U-Net starts from its encoder": "test_a_unet_starts_from_its_encoder",
    "our reading of U-SegNet-2": COUNTED,
    "one of several readings with this count": COUNTED,
    "572 → 388 px": "test_unet_makes_388_of_572",
    "sees 188 or 204 px": SEEN,
    "tiles equal one shot": "test_tiles_equal_one_forward_pass",
    "7,759,521 in the authors' code": COUNTED,
    "9,282,246 in the authors' code": COUNTED,
    "9,041,601 in the authors' code": COUNTED,
    "each pruned network equals its head": "test_unetpp_pruned_equals_the_full_networks_head",
    "FCN-32s filled from it gives its scores": FILLED,
    "sees 196, 212, 404 px": SEEN,
    "same convolutions": "test_vgg16_backbone_and_segnet_encoder",
    "sees 106 px": SEEN,
    "no ReLU in its decoder": "test_segnet_basic_decoder_has_no_relu",
    "sees 404 px": SEEN,
    "equals the classifier at the centre": FILLED,
    "starts as 32s enlarged in its steps": "test_fcn16s_starts_as_fcn32s_enlarged_twice_then_sixteen_times",
    "starts as 16s enlarged in its steps": "test_fcn8s_starts_as_fcn16s_enlarged_in_its_steps",
    "sees 355 px": SEEN,
    "sees 907 px": SEEN,
    "no auxiliary heads": COUNTED,
    "features at stride 8": "test_deeplab_features_have_stride_8",
    "scales fused by their maximum": "test_deeplab_fuses_scales_by_their_maximum",
    "scores are its branches' sum": "test_deeplab_aspp_sums_its_branches",
    "rates keep strides' features": "test_rates_in_place_of_strides_keep_the_features_where_both_exist",
    "equals the classifier at every window": (
        "test_as_a_1_by_1_convolution_it_equals_the_classifier_at_every_window_of_a_12_by_13_image"
    ),
}
"""What the last column says, and the test that shows it."""


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
        (5, "", "unchecked"),
    ],
)
def test_how_a_count_stands_to_a_printed_figure(count: int, published: str, verdict: str) -> None:
    assert compared(count, published) == verdict


@pytest.mark.parametrize(("count", "verdict"), [(5, "exact by our count"), (6, "not reproduced")])
def test_how_a_count_stands_to_one_that_was_expected(count: int, verdict: str) -> None:
    assert compared(count, "", expected=5) == verdict


def test_what_else_is_checked_has_its_test() -> None:
    said = {phrase for row in ROWS for phrase in row.checked.split("; ") if phrase}
    assert said == set(CHECKS)
    held = "".join(path.read_text() for path in sorted((PAGE.parents[1] / "tests").rglob("test_*.py")))
    assert [name for name in CHECKS.values() if f"def {name}(" not in held] == []


def test_which_published_counts_are_not_reproduced() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if "| not reproduced" in line]
    assert [cells[4] for cells in rows] == ["9.13 M", "0.65 M", "1.625 M", "1.625 M", "0.625 M"]
