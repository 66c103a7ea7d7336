"""LinkNet (Chaurasia, Culurciello 2017): a backbone and a light decoder that adds the encoder's features."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from medseg.networks.backbones import BackboneName, BackboneWidth, make_backbone
from medseg.networks.blocks import conv
from medseg.networks.contract import Count, Network, he_
from medseg.networks.upsample import LevelUnpool


class LinkNet(Network):
    """A backbone's levels at strides 4 to 32, added to the outputs of as many decoders (Figure 1).

    On ResNet-18 11,534,732 parameters from 3 channels to 12 classes; the paper says 11.5 million.

    :param width: channels of the backbone's first level; 64 is the published size.
    :param up: enlarging of the decoders: the paper's transposed 3×3 convolution in their middle, or
        ``unpool`` at their end, to where the encoder's level has its maxima. The last two doublings have no
        such level.
    """

    size_divisor = 32
    paper = "Chaurasia, Culurciello 2017"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet18",
        width: BackboneWidth = 64,
        up: Literal["transposed", "unpool"] = "transposed",
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width)
        w = self.backbone.widths[1:]
        unpools = up == "unpool"
        decoders = [
            _narrow(w[i]) if unpools else nn.Sequential(*_narrow(w[i], stride=2), _wide(w[i], w[i - 1]))
            for i in (1, 2, 3)
        ]
        self.decoders = nn.ModuleList([nn.Sequential(*_narrow(w[0]), _wide(w[0], width)), *decoders])
        self.ups = nn.ModuleList(LevelUnpool(_quarter(w[i]), w[i - 1]) for i in (1, 2, 3) if unpools)
        half = width // 2
        self.head = nn.Sequential(
            _doubling(width, half),
            conv(half, half, bias=False),
            nn.ConvTranspose2d(half, classes, 2, stride=2),
        )
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        _, *levels, y = self.backbone(x)
        for i in (3, 2, 1):
            y = self.decoders[i](y)
            y = self.ups[i - 1](y, levels[i - 1]) if self.ups else y
            y = y + levels[i - 1]  # (B, w[i − 1], H / 16, W / 16), then / 8 and / 4
        return self.head(self.decoders[0](y))  # type: ignore[no-any-return]


def _quarter(inputs: int) -> int:
    return max(1, inputs // 4)


def _narrow(inputs: int, *, stride: int = 1) -> nn.Sequential:
    """Build a decoder's 1×1 convolution to a quarter of the channels and its (transposed) 3×3 (Figure 3)."""
    inner = _quarter(inputs)
    middle = _doubling(inner, inner) if stride == 2 else conv(inner, inner, bias=False)
    return nn.Sequential(conv(inputs, inner, kernel=1, bias=False), middle)


def _wide(inputs: int, outputs: int) -> nn.Sequential:
    """Build a decoder's last 1×1 convolution."""
    return conv(_quarter(inputs), outputs, kernel=1, bias=False)


def _doubling(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
