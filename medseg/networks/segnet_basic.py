"""SegNet-Basic and the decoder variants of SegNet's Table 1 (Badrinarayanan, Kendall, Cipolla 2017)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medseg.networks.blocks import Pool, Unpool, conv
from medseg.networks.contract import Count, Network, he_
from medseg.networks.upsample import Bilinear, BilinearTransposed

Depth = Annotated[int, Field(ge=1, le=6)]


def _encoders(in_channels: int, width: int, depth: int, *, bias: bool) -> nn.ModuleList:
    return nn.ModuleList(conv(width if i else in_channels, width, kernel=7, bias=bias) for i in range(depth))


class SegNetBasic(Network):
    """Four levels of one 7×7 convolution each, un-pooled by decoders of one 7×7 convolution without ReLU.

    From 3 channels to 11 classes it has 1,416,075 parameters, with ``bias`` 1,416,587; the paper rounds to
    1.425 M. Any size is taken: an odd side pools to the larger half.

    :param decoder: ``full`` mixes all channels; ``addition`` (SegNet-Basic-EncoderAddition) adds the
        encoder's output to the decoder's; ``single`` (SegNet-Basic-SingleChannelDecoder) filters each channel
        by itself.
    :param bias: give the 7×7 convolutions a bias; their normalisation makes it superfluous.
    :param packed_positions: keep the positions of maxima in 2 bits in evaluation; the logits are the same.
    """

    paper = "Badrinarayanan, Kendall, Cipolla 2017"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth = 4,
        decoder: Literal["full", "addition", "single"] = "full",
        bias: bool = False,
        packed_positions: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        groups = width if decoder == "single" else 1
        self.addition = decoder == "addition"
        self.encoders = _encoders(in_channels, width, depth, bias=bias)
        self.pool = Pool(packed=packed_positions)
        self.unpool = Unpool()
        self.decoders = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 7, padding=3, groups=groups, bias=bias), nn.BatchNorm2d(width)
            )
            for _ in range(depth)
        )
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        pooled: list[tuple[Tensor, Tensor]] = []
        for encoder in self.encoders:
            full = encoder(x)  # (B, width, H / 2^i, W / 2^i)
            x, index = self.pool(full)  # (B, width, H / 2^(i+1), W / 2^(i+1))
            pooled.append((full, index))
        for decoder, (full, index) in zip(self.decoders, reversed(pooled), strict=True):
            x = decoder(self.unpool(x, index, full.shape))  # (B, width, H / 2^i, W / 2^i)
            x = x + full if self.addition else x
        return self.head(x)  # type: ignore[no-any-return]


class FCNBasic(Network):
    """SegNet-Basic's encoder with FCN's decoder: scores are enlarged step by step, the encoder's are added.

    Weights (kernels of convolutions) from 3 channels to 11 classes: FCN-Basic 0.6453 M (paper 0.65);
    ``addition=False`` 0.643 M (FCN-Basic-NoAddition, 0.65); ``reduction=False`` 1.661 M
    (FCN-Basic-NoDimReduction, 1.625), also without addition; ``learned=False`` 0.614 M
    (Bilinear-Interpolation, 0.625).

    :param addition: add the scores of each pooled level on the way up.
    :param reduction: 1×1 convolutions first reduce features to class scores; without, all channels are
        enlarged and the classifier comes last.
    :param learned: enlarge by 8×8 transposed convolutions that start bilinear, otherwise by fixed
        interpolation.
    """

    paper = "Badrinarayanan, Kendall, Cipolla 2017"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth = 4,
        addition: bool = True,
        reduction: bool = True,
        learned: bool = True,
    ) -> None:
        super().__init__(in_channels, classes)
        self.size_divisor = 2**depth
        self.encoders = _encoders(in_channels, width, depth, bias=False)
        self.pool = nn.MaxPool2d(2)
        channels = classes if reduction else width
        self.scores = nn.ModuleList(
            nn.Conv2d(width, classes, 1) if reduction else nn.Identity()
            for _ in range(depth if addition else 1)
        )
        self.ups = nn.ModuleList(
            BilinearTransposed(channels, 2, kernel=8) if learned else Bilinear(2) for _ in range(depth)
        )
        self.head = nn.Identity() if reduction else nn.Conv2d(width, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        kept: list[Tensor] = []  # of the levels that are added: scores, so that features need not stay
        for level, encoder in enumerate(self.encoders, 1):
            x = self.pool(encoder(x))  # (B, width, H / 2^i, W / 2^i)
            if level < len(self.scores):
                kept.append(self.scores[level](x))
        x = self.scores[0](x)  # (B, K or width, H / 2^depth, W / 2^depth)
        for up in self.ups:
            x = up(x)  # (B, K or width, H / 2^i, W / 2^i)
            if kept:
                x = x + kept.pop()
        return self.head(x)  # type: ignore[no-any-return]
