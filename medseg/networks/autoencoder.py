"""Auto-encoder with U-Net's contracting path, to be trained on scans without labels."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from medseg.networks.blocks import Down, convs, halver
from medseg.networks.contract import Count, Network, he_
from medseg.networks.unet import Depth, contracting_levels
from medseg.networks.upsample import doubler


class AutoEncoder(Network):
    """U-Net's contracting path, and an expanding path without skips that gives the input again.

    Training encoder and decoder as an auto-encoder, to start another network from the encoder, is the way of
    Ranzato et al. 2007, whom SegNet's paper names as the origin of its encoder-decoder; with many layers it
    is that of Hinton and Salakhutdinov 2006. With a skip at full size the input could be copied, and nothing
    would be learnt. The tensors of the contracting path have the names and shapes of U-Net's (``encoders``,
    ``downs``, ``bottom``) and those of the expanding path have others, so that a U-Net starts from the former
    alone.

    :param width: channels of the first level; each level has twice as many as the one above.
    :param depth: halvings of the size.
    :param down: as U-Net's.
    """

    paper = "Ranzato, Huang, Boureau, LeCun 2007"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth = 4,
        batch_norm: bool = True,
        down: Down = "pool",
    ) -> None:
        super().__init__(in_channels, classes)
        w = [width * 2**level for level in range(depth + 1)]
        self.size_divisor = 2**depth
        *contracting, self.bottom = contracting_levels(in_channels, w, batch_norm=batch_norm, padding=1)
        self.encoders = nn.ModuleList(contracting)
        self.downs = nn.ModuleList(halver(down, level, batch_norm=batch_norm) for level in w[:depth])
        self.reconstruction = nn.Sequential(
            *(
                nn.Sequential(doubler("transposed", below, level), convs(level, level, batch_norm=batch_norm))
                for below, level in pairwise(reversed(w))
            )
        )
        self.output = nn.Conv2d(width, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> reconstruction (B, K, H, W)."""
        self.require(x)
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = down(encoder(x))  # (B, width · 2^i, H / 2^(i + 1), W / 2^(i + 1))
        x = self.bottom(x)  # (B, width · 2^depth, H / 2^depth, W / 2^depth)
        return self.output(self.reconstruction(x))  # type: ignore[no-any-return]
