"""Backbones by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medseg.networks.backbones.mobilenet import MobileNetV2
from medseg.networks.backbones.resnet import ResNet
from medseg.networks.contract import Backbone

BackboneName = Literal["resnet18", "resnet50", "resnet101", "mobilenetv2"]
OutputStride = Literal[8, 16, 32]
BackboneWidth = Annotated[int, Field(ge=4)]
"""Channels of the first level; below 4 MobileNetV2 would have none."""


def make_backbone(
    name: BackboneName, in_channels: int, *, width: int = 64, output_stride: OutputStride = 32
) -> Backbone:
    """Build a backbone with fresh weights; ``width`` 64 is the published one of all of them."""
    if name == "mobilenetv2":
        return MobileNetV2(in_channels, width=width, output_stride=output_stride)
    return ResNet(
        in_channels, layers=int(name.removeprefix("resnet")), width=width, output_stride=output_stride
    )
