"""LinkNet (Chaurasia, Culurciello 2017): a backbone and a light decoder that adds the encoder's features."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.backbones import BackboneName, BackboneWidth, make_backbone
from medseg.networks.blocks import conv
from medseg.networks.contract import Count, Network, he_


class LinkNet(Network):
    """A backbone's levels at strides 4 to 32, added to the outputs of as many decoders (Figure 1).

    On ResNet-18 11,534,732 parameters from 3 channels to 12 classes; the paper says 11.5 million.

    :param width: channels of the backbone's first level; 64 is the published size.
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
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width)
        w = self.backbone.widths[1:]
        self.decoders = nn.ModuleList(
            [_decoder(w[0], width, 1), *(_decoder(w[i], w[i - 1], 2) for i in (1, 2, 3))]
        )
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
        for decoder, level in zip(list(self.decoders)[:0:-1], reversed(levels), strict=True):
            y = decoder(y) + level  # (B, …, H / 16, W / 16), then / 8 and / 4
        return self.head(self.decoders[0](y))  # type: ignore[no-any-return]


def _decoder(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Build 1×1, transposed 3×3 and 1×1 convolutions by way of a quarter of the channels (Figure 3)."""
    inner = max(1, inputs // 4)
    middle = _doubling(inner, inner) if stride == 2 else conv(inner, inner, bias=False)
    return nn.Sequential(
        conv(inputs, inner, kernel=1, bias=False), middle, conv(inner, outputs, kernel=1, bias=False)
    )


def _doubling(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
