"""U-SegNet (Kumar, Nagar, Arora, Gupta 2018): SegNet with U-Net's skip at the top level."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks.backbones.vgg import VGG16_CONVS, VGG16_NAMES, vgg16_widths
from medseg.networks.blocks import Pool, Unpool, convs
from medseg.networks.contract import Count, Network, he_
from medseg.networks.weights.pretrained import conv_names

Depth = Annotated[int, Field(ge=1, le=5)]
Skips = Annotated[int, Field(ge=0, le=5)]


class USegNet(Network):
    """VGG16's first levels and their un-pooled mirror image, with skips at the upper ``skips`` levels.

    At a level with a skip the encoder's output (after its ReLU, before pooling) is concatenated to the
    un-pooled features, and a 1×1 convolution without normalisation halves the channels. Any size is taken: an
    odd side pools to the larger half. From 3 channels to 4 classes it has 3,483,652 parameters, and with
    ``skips=2`` (U-SegNet-2) 3,516,548.

    :param width: channels of the first level; each level doubles them, up to eightfold.
    :param depth: levels, each with one pooling.
    :param skips: levels with a skip, from the top; ``depth`` at most.
    :param packed_positions: keep the positions of maxima in 2 bits in evaluation; the logits are the same.
    """

    paper = "Kumar, Nagar, Arora, Gupta 2018"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth = 3,
        skips: Skips = 1,
        packed_positions: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        if skips > depth:
            details, how_to_fix = f"skips={skips} at depth={depth}", f"use at most {depth} skips"
            raise MedsegError(Code.KEYWORD_INVALID, "usegnet", details, how_to_fix)
        widths = vgg16_widths(width, depth)
        above = [width, *widths]
        levels = range(depth)
        self.encoders = nn.ModuleList(
            convs(above[i] if i else in_channels, *[widths[i]] * VGG16_CONVS[i]) for i in levels
        )
        self.pool = Pool(packed=packed_positions)
        self.unpool = Unpool()
        self.joins = nn.ModuleList(nn.Conv2d(2 * widths[i], widths[i], 1) for i in levels[:skips])
        # The head stands for the last convolution of the first level.
        self.decoders = nn.ModuleList(
            convs(*[widths[i]] * (VGG16_CONVS[i] - (i == 0)), above[i]) for i in levels
        )
        self.head = nn.Conv2d(width, classes, 3, padding=1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        pooled: list[tuple[Tensor, Tensor]] = []
        for encoder in self.encoders:
            full = encoder(x)  # (B, width · 2^i, H / 2^i, W / 2^i)
            x, index = self.pool(full)  # (B, width · 2^i, H / 2^(i+1), W / 2^(i+1))
            pooled.append((full, index))
        for i in reversed(range(len(pooled))):
            full, index = pooled[i]
            x = self.unpool(x, index, full.shape)  # (B, width · 2^i, H / 2^i, W / 2^i)
            x = self.joins[i](torch.cat((x, full), 1)) if i < len(self.joins) else x
            x = self.decoders[i](x)  # (B, width · 2^(i-1), H / 2^i, W / 2^i); at the top width
        return self.head(x)  # type: ignore[no-any-return]

    def pretrained_key_map(self) -> dict[str, str]:
        """Map the encoder's convolutions to VGG16's first."""
        return conv_names(self.encoders, "encoders", VGG16_NAMES)
