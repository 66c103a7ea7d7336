"""DeepLab: LargeFOV and atrous spatial pyramid pooling (Chen et al. 2015, 2017)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks.backbones import BackboneName, make_backbone
from medseg.networks.blocks import resized
from medseg.networks.contract import Count, HeadWeight, Network, Share, he_

Scales = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
Rates = Annotated[tuple[Count, ...], Field(min_length=1)]


class DeepLabASPP(Network):
    """A backbone at output stride 8, and for each rate a branch whose scores are summed (section 3.2).

    On VGG16 a branch is a 3×3 convolution and two 1×1; with four rates 37,877,652 parameters from 3 channels
    to 21 classes. On ResNet-101, the paper's best, and on the others a branch is one 3×3 convolution to the
    scores: 44,048,532 parameters.

    :param width: channels of the backbone's first level; 64 is the published size.
    :param hidden: channels of each branch's layers fc6 and fc7. By default 1024 with VGG16, and no such
        layers with the others.
    :param rates: dilation of each branch's 3×3 convolution; (2, 4, 8, 12) is the paper's ASPP-S.
    :param scales: the image is also seen at these sizes, and the largest of their scores counts; the paper's
        are (0.5, 0.75, 1).
    :param auxiliary: weight of the loss of each scale's own scores, in training alone, beside that of the
        fused ones; the authors' code has 1.
    """

    paper = "Chen, Papandreou, Kokkinos, Murphy, Yuille 2017"
    size_divisor = 8

    def __init__(  # noqa: PLR0913  # a recipe's keywords
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        hidden: Count | None = None,
        rates: Rates = (6, 12, 18, 24),
        scales: Scales = (1.0,),
        dropout: Share = 0.5,
        backbone: BackboneName = "vgg16",
        auxiliary: HeadWeight = 0.0,
    ) -> None:
        super().__init__(in_channels, classes)
        self.scales = scales
        if auxiliary and len(scales) == 1:
            details, how_to_fix = (
                f"auxiliary={auxiliary} with one scale",
                "give scales, such as [0.5, 0.75, 1]",
            )
            raise MedsegError(Code.KEYWORD_INVALID, "deeplab", details, how_to_fix)
        self.head_weights = (*[auxiliary] * len(scales), 1.0) if auxiliary else ()
        self.backbone = make_backbone(backbone, in_channels, width=width, output_stride=8)
        features = self.backbone.widths[4]
        if hidden is None and backbone == "vgg16":
            hidden = 1024
        self.branches = nn.ModuleList(_branch(features, hidden, classes, rate, dropout) for rate in rates)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); in training with auxiliary losses a list, fused last."""
        self.require(x)
        full: list[Tensor] = []
        for scale in self.scales:
            size = tuple(8 * max(1, round(side * scale / 8)) for side in x.shape[-2:])
            features = self.backbone(resized(x, size))[-1]  # (B, 8 · width, H / 8, W / 8) of this scale
            scores = torch.stack([branch(features) for branch in self.branches]).sum(0)
            full.append(resized(scores, x.shape))  # (B, K, H, W)
        fused = torch.stack(full).amax(0)
        return [*full, fused] if self.training and self.head_weights else fused


def _branch(inputs: int, hidden: int | None, classes: int, rate: int, dropout: float) -> nn.Module:
    """Build the layers (B, inputs, H, W) -> scores (B, K, H, W) that see the features at one rate."""
    if hidden is None:
        return nn.Conv2d(inputs, classes, 3, padding=rate, dilation=rate)
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 3, padding=rate, dilation=rate),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(hidden, classes, 1),
    )


class DeepLabLargeFOV(DeepLabASPP):
    """DeepLab with a single branch of rate 12: 20,505,429 parameters from 3 channels to 21 classes."""

    paper = "Chen, Papandreou, Kokkinos, Murphy, Yuille 2015"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        hidden: Count | None = None,
        scales: Scales = (1.0,),
        dropout: Share = 0.5,
        backbone: BackboneName = "vgg16",
        auxiliary: HeadWeight = 0.0,
    ) -> None:
        super().__init__(
            in_channels,
            classes,
            width=width,
            hidden=hidden,
            rates=(12,),
            scales=scales,
            dropout=dropout,
            backbone=backbone,
            auxiliary=auxiliary,
        )
