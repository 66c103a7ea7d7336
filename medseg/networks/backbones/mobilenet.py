"""MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen 2018) as a backbone, in torchvision's names."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.contract import Backbone

GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of each group."""

ENDS = (1, 3, 6, 13, 17)
"""The last layers at strides 2, 4, 8, 16 and 32."""


class MobileNetV2(Backbone):
    """Inverted residual blocks up to their 320 channels (Table 2 of the paper).

    From 3 channels 1,811,712 parameters. With the 1×1 convolution to 1280 channels and the classifier for
    1000 classes that gives torchvision's 3,504,872. At output stride 16 the last stride becomes rate 2, at 8
    the last two become 2 and 4.

    :param width: 64 stands for the published channels, 32 for half of them.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        entry, reached, rate = 32 * width // 64, 2, 1
        layers: list[nn.Module] = [_unit(in_channels, entry, 3, 2)]
        outputs = [entry]
        for expansion, channels, blocks, group_stride in GROUPS:
            stride = 1 if reached == output_stride else group_stride
            before = rate
            rate *= group_stride // stride
            reached *= stride
            for block in range(blocks):
                exit_ = channels * width // 64
                # The layer that had the stride keeps the rate before it, so that its
                # outputs stay the strided net's.
                step = (stride, before) if block == 0 else (1, rate)
                layers.append(InvertedResidual(entry, exit_, expansion, *step))
                outputs.append(exit_)
                entry = exit_
        self.features = nn.Sequential(*layers)
        self.widths = [outputs[end] for end in ENDS]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> levels (B, widths[i], H / stride, W / stride)."""
        levels: list[Tensor] = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in ENDS:
                levels.append(x)
        return levels


class InvertedResidual(nn.Module):
    """1×1 convolution to more channels, 3×3 depthwise, 1×1 to few without ReLU; and the identity."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, rate: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [_unit(inputs, inner, 1)] if expansion > 1 else []
        depthwise = _unit(inner, inner, 3, stride, rate, groups=inner)
        self.conv = nn.Sequential(
            *expand, depthwise, nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.identity = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.identity else y


def _unit(
    inputs: int, outputs: int, kernel: int, stride: int = 1, rate: int = 1, *, groups: int = 1
) -> nn.Sequential:
    padding = rate * (kernel - 1) // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, rate, groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))
