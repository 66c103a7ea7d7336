"""The tables of backbones in docs/networks.md, made by counting: `python -m medseg.networks.reference`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from medseg import files
from medseg.errors import MedsegError
from medseg.networks import NETWORKS, build, keywords_of
from medseg.networks.backbones import BackboneName, make_backbone

BEGIN, END = "<!-- backbones, by python -m medseg.networks.reference -->", "<!-- end of backbones -->"

CHANNELS, CLASSES = 3, 21
"""What the networks of the table take and give."""


@dataclass(frozen=True)
class Classifier:
    """The classifier for 1000 classes that a backbone is the body of.

    ``end`` counts the parameters that a backbone leaves out, ``beyond`` those that the classifier has not.
    ``published`` are its parameters as stated: a number, or millions as printed.
    """

    paper: str
    published: int | str
    end: int
    beyond: int = 0


def _linear(features: int) -> int:
    return features * 1000 + 1000


def _efficientnet(channels: int, head: int, published: str) -> Classifier:
    """Count the 1×1 convolution, its normalisation and the classifier."""
    return Classifier("Tan, Le 2019", published, channels * head + 2 * head + _linear(head))


_FULL = 4096 * 4096 + 4096 + _linear(4096)
_HE, _HUANG, _HU = (
    "He, Zhang, Ren, Sun 2016",
    "Huang, Liu, van der Maaten, Weinberger 2017",
    "Hu, Shen, Sun 2018",
)
_UPS = sum(4 * a * b + b + 2 * b for a, b in ((768, 384), (384, 192), (192, 96)))  # ViT's to stride 2
_UPS += sum(4 * a * b + b + 2 * b for a, b in ((768, 384), (384, 192), (768, 384)))

CLASSIFIERS: dict[BackboneName, Classifier] = {
    "vgg16": Classifier("Simonyan, Zisserman 2015", 138_357_544, 512 * 49 * 4096 + 4096 + _FULL),
    "alexnet": Classifier("Krizhevsky, Sutskever, Hinton 2012", 60_965_224, 256 * 36 * 4096 + 4096 + _FULL),
    "googlenet": Classifier("Szegedy et al. 2015", 6_998_552, _linear(1024)),
    "resnet18": Classifier(_HE, 11_689_512, _linear(512)),
    "resnet34": Classifier(_HE, 21_797_672, _linear(512)),
    "resnet50": Classifier(_HE, 25_557_032, _linear(2048)),
    "resnet101": Classifier(_HE, 44_549_160, _linear(2048)),
    "resnet152": Classifier(_HE, 60_192_808, _linear(2048)),
    "mobilenetv1": Classifier("Howard et al. 2017", "4.2 M", _linear(1024)),
    "mobilenetv2": Classifier(
        "Sandler, Howard, Zhu, Zhmoginov, Chen 2018", 3_504_872, 320 * 1280 + 2 * 1280 + _linear(1280)
    ),
    "xception": Classifier("Chollet 2017", 22_855_952, _linear(2048)),
    "densenet121": Classifier(_HUANG, 7_978_856, _linear(1024)),
    "densenet169": Classifier(_HUANG, 14_149_480, _linear(1664)),
    "densenet201": Classifier(_HUANG, 20_013_928, _linear(1920)),
    "senet154": Classifier(_HU, 115_088_984, _linear(2048)),
    "seresnet50": Classifier(_HU, 28_088_024, _linear(2048)),
    "seresnet101": Classifier(_HU, 49_326_872, _linear(2048)),
    "seresnext50": Classifier(_HU, 27_559_896, _linear(2048)),
    "seresnext101": Classifier(_HU, 48_955_416, _linear(2048)),
    "efficientnet-b0": _efficientnet(320, 1280, "5.3 M"),
    "efficientnet-b1": _efficientnet(320, 1280, "7.8 M"),
    "efficientnet-b2": _efficientnet(352, 1408, "9.2 M"),
    "efficientnet-b3": _efficientnet(384, 1536, "12 M"),
    "efficientnet-b4": _efficientnet(448, 1792, "19 M"),
    "efficientnet-b5": _efficientnet(512, 2048, "30 M"),
    "efficientnet-b6": _efficientnet(576, 2304, "43 M"),
    "efficientnet-b7": _efficientnet(640, 2560, "66 M"),
    "vit_b16": Classifier("Dosovitskiy et al. 2021", 86_567_656, 2 * 768 + _linear(768), _UPS),
    "swin_t": Classifier("Liu et al. 2021", 28_288_354, 2 * 768 + _linear(768)),
}


def classifier_count(name: BackboneName) -> int:
    """Count the parameters of the classifier that a backbone is the body of, for three channels."""
    end = CLASSIFIERS[name]
    with torch.device("meta"):
        return parameters(make_backbone(name, CHANNELS)) + end.end - end.beyond


def networks_with_backbone() -> list[str]:
    """List the networks that take the keyword ``backbone``."""
    return [name for name in NETWORKS if "backbone" in keywords_of(name)]


def network_count(network: str, backbone: str) -> int | None:
    """Count the parameters of a network on a backbone; None if the backbone cannot have its stride."""
    strides: tuple[dict[str, Any], ...] = ({}, {"output_stride": 16}, {"output_stride": 32})
    for stride in strides if "output_stride" in keywords_of(network) else strides[:1]:
        try:
            with torch.device("meta"):
                return parameters(build(network, CHANNELS, CLASSES, backbone=backbone, **stride))
        except MedsegError:  # this stride is refused: the next one
            continue
    return None


def parameters(module: nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def backbone_table() -> list[str]:
    """Return the lines of the table of backbones beside their published classifiers."""
    rows = [_cells(name) for name in get_args(BackboneName)]
    heads = ["backbone", "paper", "channels at strides 2, 4, 8, 16, 32", "here", "published", "count"]
    return _table([heads, ["---"] * len(heads), *rows])


def network_table() -> list[str]:
    """Return the lines of the table of networks on backbones, in millions of parameters."""
    networks = networks_with_backbone()
    rows = [
        [f"`{backbone}`", *(_millions(network_count(network, backbone)) for network in networks)]
        for backbone in get_args(BackboneName)
    ]
    return _table([["", *(f"`{name}`" for name in networks)], ["---", *["---:"] * len(networks)], *rows])


def page_with_tables(page: str) -> str:
    """Return the page with both tables made anew."""
    before, _, rest = page.partition(BEGIN)
    lines = [
        *("", "As classifiers for 1000 classes (3 channels):", "", *backbone_table()),
        *("", f"Millions of parameters on each backbone, {CHANNELS} channels to {CLASSES} classes:"),
        *("", *network_table(), ""),
    ]
    return before + "\n".join([BEGIN, *lines, END]) + rest.partition(END)[2]


def _cells(name: BackboneName) -> list[str]:
    classifier = CLASSIFIERS[name]
    with torch.device("meta"):
        widths = make_backbone(name, CHANNELS).widths
    count, published = classifier_count(name), classifier.published
    printed = published if isinstance(published, str) else f"{published:,}"
    return [
        f"`{name}`",
        classifier.paper,
        ", ".join(str(width) if width else "–" for width in widths),
        f"{count:,}",
        printed,
        compared(count, published),
    ]


def compared(count: int, published: int | str) -> str:
    """Say how a count stands to a published figure, in all the digits that are printed."""
    if isinstance(published, int):
        return "exact" if count == published else "not reproduced"
    figure = published.removesuffix(" M")
    if f"{count / 1e6:.{len(figure.partition('.')[2])}f}" == figure:
        return "exact"
    apart = count / 1e6 / float(figure) - 1
    return f"{'within 1 %' if abs(apart) <= 0.01 else 'not reproduced'} ({100 * apart:+.2f} %)"


def _millions(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.3f}"


def _table(rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in rows]


def write(root: Path) -> None:
    """Write the tables into the page of a checkout."""
    path = root / "docs/networks.md"
    files.write_text(path, page_with_tables(path.read_text()))


if __name__ == "__main__":
    write(Path(__file__).parents[2])
