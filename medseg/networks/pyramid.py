"""Pyramid pooling, PSPNet and UPerNet; their counts are not checked against the papers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.backbones import BackboneName, BackboneWidth, OutputStride, make_backbone
from medseg.networks.blocks import conv, resized
from medseg.networks.contract import Count, HeadWeight, Network, Share, he_

BINS = (1, 2, 3, 6)
"""Bins along each side, for each level of the pyramid (PSPNet, section 3.2)."""


class PyramidPooling(nn.Module):
    """Means over 1, 4, 9 and 36 parts of the image, reduced by 1×1, enlarged, joined to the input.

    A training batch needs two images at least, since the coarsest leaves one value of each image to
    normalise.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = inputs + len(BINS) * outputs
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv(inputs, outputs, kernel=1, bias=False))
            for bins in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, inputs + 4 · outputs, H, W)."""
        return torch.cat([x, *(resized(level(x), x.shape) for level in self.levels)], 1)


class PSPNet(Network):
    """A backbone at output stride 8, pyramid pooling, 3×3 and 1×1 (Zhao, Shi, Qi, Wang, Jia 2017).

    :param width: channels of the backbone's first level; 64 is the published size.
    :param output_stride: image size over feature size; 8 is the paper's.
    :param auxiliary: weight of the loss of a second head, on the backbone's features before its last stage,
        in training alone (section 3.3); the paper's is 0.4.
    """

    paper = "Zhao, Shi, Qi, Wang, Jia 2017"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet50",
        width: BackboneWidth = 64,
        dropout: Share = 0.1,
        output_stride: OutputStride = 8,
        auxiliary: HeadWeight = 0.0,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width, output_stride=output_stride)
        self.size_divisor = output_stride
        features = self.backbone.widths[4]
        self.pyramid = PyramidPooling(features, features // len(BINS))
        self.head = nn.Sequential(
            conv(self.pyramid.outputs, 8 * width, bias=False),
            nn.Dropout(dropout),
            nn.Conv2d(8 * width, classes, 1),
        )
        if auxiliary:
            before = self.backbone.widths[3]
            inner = max(1, before // 4)
            self.auxiliary = nn.Sequential(
                conv(before, inner, bias=False), nn.Dropout(dropout), nn.Conv2d(inner, classes, 1)
            )
            self.head_weights = (auxiliary, 1.0)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); in training with an auxiliary head a list, main last."""
        self.require(x)
        *_, before, features = self.backbone(x)  # (B, widths[3] and widths[4], H / 8, W / 8)
        logits = resized(self.head(self.pyramid(features)), x.shape)
        if not (self.training and self.head_weights):
            return logits
        return [resized(self.auxiliary(before), x.shape), logits]


class UPerNet(Network):
    """A backbone, pyramid pooling at its top, and a feature pyramid down to stride 4 (Xiao et al. 2018).

    Of the paper's tasks only the segmentation of objects (Figure 4).

    :param width: channels of the backbone's first level; 64 is the published size.
    :param hidden: channels of the feature pyramid.
    """

    size_divisor = 32
    paper = "Xiao, Liu, Zhou, Jiang, Sun 2018"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet50",
        width: BackboneWidth = 64,
        hidden: Count = 512,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width)
        widths = self.backbone.widths[1:]
        self.pyramid = PyramidPooling(widths[3], hidden)
        self.top = conv(self.pyramid.outputs, hidden, bias=False)
        self.laterals = nn.ModuleList(conv(w, hidden, kernel=1, bias=False) for w in widths[:3])
        self.smooth = nn.ModuleList(conv(hidden, hidden, bias=False) for _ in range(3))
        self.head = nn.Sequential(conv(4 * hidden, hidden, bias=False), nn.Conv2d(hidden, classes, 1))
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        _, *levels = self.backbone(x)
        y = self.top(self.pyramid(levels[3]))  # (B, hidden, H / 32, W / 32)
        pyramid = [y]
        for i in reversed(range(3)):
            lateral = self.laterals[i](levels[i])  # (B, hidden, H / 2^(i+2), W / 2^(i+2))
            y = lateral + resized(y, lateral.shape)
            pyramid.append(self.smooth[i](y))
        fused = torch.cat([resized(level, y.shape) for level in pyramid], 1)  # (B, 4 · hidden, H / 4, W / 4)
        return resized(self.head(fused), x.shape)
