"""The U-Net that U-SegNet's paper compares with, in one of the readings that its parameter count allows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks import convs
from medseg.networks.contract import Count, Network, he_


class UNetKumar(Network):
    """U-SegNet's encoder, 4×4 transposed convolutions and all three skips: 3,900,996 parameters from 3 to 4.

    The paper gives the count alone, and other nets reach it too: a plausible stand-in, not the paper's
    figure.

    :param width: channels of the first level; the next two have twice and four times as many.
    """

    paper = "Kumar, Nagar, Arora, Gupta 2018"
    size_divisor = 8

    def __init__(self, in_channels: Count, classes: Count, *, width: Count = 64) -> None:
        super().__init__(in_channels, classes)
        w = [width, 2 * width, 4 * width]
        self.encoders = nn.ModuleList(
            [convs(in_channels, w[0], w[0]), convs(w[0], w[1], w[1]), convs(w[1], w[2], w[2], w[2])]
        )
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(c, c, 4, stride=2, padding=1), nn.BatchNorm2d(c), nn.ReLU())
            for c in w
        )
        self.decoders = nn.ModuleList(
            [
                nn.Sequential(*convs(2 * w[0], w[0], kernel=1), *convs(w[0], w[0])),
                convs(2 * w[1], w[0]),
                convs(2 * w[2], w[1]),
            ]
        )
        self.head = nn.Conv2d(width, classes, 3, padding=1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        skips: list[Tensor] = []
        for encoder in self.encoders:
            skips.append(encoder(x))  # (B, width · 2^i, H / 2^i, W / 2^i)
            x = self.pool(skips[-1])
        for i in reversed(range(len(skips))):
            x = self.ups[i](x)  # (B, width · 2^i, H / 2^i, W / 2^i)
            x = self.decoders[i](torch.cat((skips[i], x), 1))  # (B, width · 2^(i-1), …); at the top width
        return self.head(x)  # type: ignore[no-any-return]
