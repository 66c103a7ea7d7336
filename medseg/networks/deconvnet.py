"""DeconvNet (Noh, Hong, Han 2015): VGG16 and its mirror image of un-pooling and transposed convolutions."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from medseg.networks.backbones.vgg import VGG16_CONVS, VGG16_NAMES, vgg16_widths
from medseg.networks.blocks import Pool, Unpool, conv, convs
from medseg.networks.contract import Count, Network, he_
from medseg.networks.weights.pretrained import conv_names


class DeconvNet(Network):
    """Five levels down to 7×7 valid and 1×1 convolutions, and the same way back (Figure 2 of the paper).

    The 7×7 convolution needs seven features a side, hence at least 224 pixels. Everything but the classifier
    is normalised. The parameter count (252 million at the published size) is not checked against the paper.

    :param width: channels of the first level.
    :param hidden: channels between the two halves.
    :param packed_positions: keep the positions of maxima in 2 bits in evaluation; the logits are the same.
    """

    size_divisor = 32
    min_size = 224
    paper = "Noh, Hong, Han 2015"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        hidden: Count = 4096,
        packed_positions: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        w = vgg16_widths(width)
        above = [width, *w]
        self.encoders = nn.ModuleList(
            convs(above[i] if i else in_channels, *[w[i]] * VGG16_CONVS[i]) for i in range(5)
        )
        self.pool = Pool(packed=packed_positions)
        self.unpool = Unpool()
        self.middle = nn.Sequential(
            conv(w[4], hidden, kernel=7, padding=0),
            conv(hidden, hidden, kernel=1),
            _deconv(hidden, w[4], 7, 0),
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(*(_deconv(a, b, 3, 1) for a, b in pairwise([*[w[i]] * VGG16_CONVS[i], above[i]])))
            for i in range(5)
        )
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        pooled: list[tuple[Tensor, Tensor]] = []
        for encoder in self.encoders:
            full = encoder(x)  # (B, w[i], H / 2^i, W / 2^i)
            x, index = self.pool(full)  # (B, w[i], H / 2^(i+1), W / 2^(i+1))
            pooled.append((index, full))
        x = self.middle(x)  # (B, 8 · width, H / 32, W / 32), by way of (B, hidden, H / 32 − 6, W / 32 − 6)
        for i in reversed(range(5)):
            index, full = pooled[i]
            x = self.decoders[i](self.unpool(x, index, full.shape))  # (B, w[i − 1], H / 2^i, W / 2^i)
        return self.head(x)  # type: ignore[no-any-return]

    def pretrained_key_map(self) -> dict[str, str]:
        """Map the encoder's convolutions to VGG16's."""
        return conv_names(self.encoders, "encoders", VGG16_NAMES)


def _deconv(inputs: int, outputs: int, kernel: int, padding: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, padding=padding)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
