"""DeepLab v3 (Chen, Papandreou, Schroff, Adam 2017) and v3+ (Chen, Zhu, Papandreou, Schroff, Adam 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.backbones import BackboneName, BackboneWidth, OutputStride, make_backbone
from medseg.networks.blocks import conv, resized
from medseg.networks.contract import Count, Network, he_

LOW_CHANNELS = 48
"""Channels to which the details at stride 4 are reduced, so that they do not outweigh the pyramid."""


class ASPP(nn.Module):
    """A 1×1, three 3×3 convolutions with rates, and the image's mean; concatenated and reduced by 1×1.

       Section 3.3 of DeepLab v3.
    From 2048 to 256 channels it has 15,535,104 parameters. A training batch needs two images at least, since
       the mean leaves one value of each image to normalise.
    """

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv(inputs, outputs, kernel=1, bias=False),
                *(conv(inputs, outputs, dilation=rate, bias=False) for rate in rates),
            ]
        )
        self.image = conv(inputs, outputs, kernel=1, bias=False)
        self.project = conv((len(rates) + 2) * outputs, outputs, kernel=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        mean = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), mean], 1))  # type: ignore[no-any-return]


class DeepLabV3(Network):
    """A backbone with rates in place of its last strides, and the spatial pyramid :class:`ASPP`.

    :param width: channels of the backbone's first level; 64 is the published size.
    :param hidden: channels of the pyramid.
    :param output_stride: image size over feature size; at 8 the pyramid's rates 6, 12, 18 are doubled, at 32
        halved.
    """

    paper = "Chen, Papandreou, Schroff, Adam 2017"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet50",
        width: BackboneWidth = 64,
        hidden: Count = 256,
        output_stride: OutputStride = 16,
    ) -> None:
        super().__init__(in_channels, classes)
        self.size_divisor = output_stride
        self.backbone = make_backbone(backbone, in_channels, width=width, output_stride=output_stride)
        rates = tuple(rate * 16 // output_stride for rate in (6, 12, 18))
        self.aspp = ASPP(self.backbone.widths[4], hidden, rates)
        self.head = nn.Conv2d(hidden, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        features = self.backbone(x)[4]  # (B, widths[4], H / output stride, W / output stride)
        return resized(self.head(self.aspp(features)), x.shape)


class DeepLabV3Plus(DeepLabV3):
    """:class:`DeepLabV3` with a decoder that adds the backbone's details at stride 4 (Figure 2)."""

    paper = "Chen, Zhu, Papandreou, Schroff, Adam 2018"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet50",
        width: BackboneWidth = 64,
        hidden: Count = 256,
        output_stride: OutputStride = 16,
    ) -> None:
        super().__init__(
            in_channels, classes, backbone=backbone, width=width, hidden=hidden, output_stride=output_stride
        )
        self.low = conv(self.backbone.widths[1], LOW_CHANNELS, kernel=1, bias=False)
        self.decoder = nn.Sequential(
            conv(hidden + LOW_CHANNELS, hidden, bias=False), conv(hidden, hidden, bias=False)
        )
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        levels = self.backbone(x)
        low = self.low(levels[1])  # (B, 48, H / 4, W / 4)
        high = resized(self.aspp(levels[4]), low.shape)  # (B, hidden, H / 4, W / 4)
        return resized(self.head(self.decoder(torch.cat((high, low), 1))), x.shape)
