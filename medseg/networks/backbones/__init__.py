"""Backbones by name."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from medseg.errors import Code, MedsegError
from medseg.networks.backbones.alexnet import AlexNet
from medseg.networks.backbones.googlenet import GoogLeNet
from medseg.networks.backbones.mobilenet import MobileNetV1, MobileNetV2
from medseg.networks.backbones.resnet import ResNet
from medseg.networks.backbones.stem import WithFirstLevel
from medseg.networks.backbones.vgg import VGG16
from medseg.networks.backbones.xception import Xception
from medseg.networks.contract import Backbone

OwnName = Literal[
    "vgg16",
    "alexnet",
    "googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "mobilenetv1",
    "mobilenetv2",
    "xception",
]
MonaiName = Literal[
    "densenet121",
    "densenet169",
    "densenet201",
    "senet154",
    "seresnet50",
    "seresnet101",
    "seresnext50",
    "seresnext101",
    "efficientnet-b0",
    "efficientnet-b1",
    "efficientnet-b2",
    "efficientnet-b3",
    "efficientnet-b4",
    "efficientnet-b5",
    "efficientnet-b6",
    "efficientnet-b7",
    "vit_b16",
    "swin_t",
]
BackboneName = Literal[OwnName, MonaiName]
OutputStride = Literal[8, 16, 32]
BackboneWidth = Annotated[int, Field(ge=4)]
"""Channels of the first level; below 4 MobileNetV2 would have none."""

PUBLISHED_WIDTH = 64
"""Width that stands for the published channels of all of them."""


def make_backbone(
    name: BackboneName,
    in_channels: int,
    *,
    width: int = PUBLISHED_WIDTH,
    output_stride: int = 32,
) -> Backbone:
    """Build a backbone with fresh weights.

    :param width: 64 stands for the published channels of all of them; MONAI's have no other.
    :param output_stride: image size over the size of the last features: 8, 16 or 32.
    :raises MedsegError: ``KEYWORD_INVALID`` for a width or stride that the body cannot have;
        ``EXTRA_MISSING`` for one of MONAI's without MONAI.
    """
    options = {"width": width, "output_stride": output_stride}
    backbone: Backbone
    if name in get_args(MonaiName):
        from medseg.networks.backbones.monai_bodies import monai_backbone

        if width != PUBLISHED_WIDTH:
            details, how_to_fix = f"{name} has its published channels alone", f"set {PUBLISHED_WIDTH}"
            raise MedsegError(Code.KEYWORD_INVALID, "backbone", f"width {width}: {details}", how_to_fix)
        backbone = monai_backbone(name, in_channels, output_stride=output_stride)
    elif name.startswith("resnet"):
        backbone = ResNet(in_channels, layers=int(name.removeprefix("resnet")), **options)
    else:
        backbone = _OWN[name](in_channels, **options)
    return backbone


def make_contracting_path(name: BackboneName, in_channels: int, *, width: int, levels: int) -> Backbone:
    """Build a backbone with features at each stride from 2 on, for an encoder-decoder of ``levels`` levels.

    Where a body has none at stride 2, a convolution is added. Layers below the last level are left out.

    :raises MedsegError: ``KEYWORD_INVALID`` for more than five levels, or as :func:`make_backbone`.
    """
    if levels > 5:
        details, how_to_fix = f"depth={levels} with a backbone", "use at most 5: it has five levels"
        raise MedsegError(Code.KEYWORD_INVALID, "backbone", details, how_to_fix)
    backbone = make_backbone(name, in_channels, width=width)
    if not backbone.widths[0]:
        backbone = WithFirstLevel(backbone, in_channels, width // 2)
    backbone.cut(levels)
    return backbone


_OWN = {
    "vgg16": VGG16,
    "alexnet": AlexNet,
    "googlenet": GoogLeNet,
    "mobilenetv1": MobileNetV1,
    "mobilenetv2": MobileNetV2,
    "xception": Xception,
}
