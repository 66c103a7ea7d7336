"""MobileNet v1 (Howard et al. 2017) and v2 (Sandler et al. 2018) as backbones; v2 in torchvision's names."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.backbones.staged import StagedBackbone

SEPARABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
"""Of MobileNet v1: channels and stride of each depthwise separable convolution."""

GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Of MobileNetV2: expansion, channels, blocks and stride of each group."""


class MobileNetV1(StagedBackbone):
    """A convolution and 13 depthwise separable ones (Table 1 of the paper).

    With its classifier for 1000 classes it has 4,231,976 parameters, the paper's 4.2 million.

    :param width: 64 stands for the published channels, 32 for half of them.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        entry = 32 * width // 64
        layers: list[nn.Module] = [_unit(in_channels, entry, 3, 2)]
        for published, stride in SEPARABLE:
            channels = published * width // 64
            depthwise = _unit(entry, entry, 3, stride, groups=entry)
            layers.append(nn.Sequential(depthwise, _unit(entry, channels, 1)))
            entry = channels
        self.features = nn.Sequential(*layers)
        steps = [f"features.{i}" for i in range(len(layers))]
        self.find_levels("mobilenetv1", steps, in_channels, output_stride)


class MobileNetV2(StagedBackbone):
    """Inverted residual blocks up to their 320 channels (Table 2 of the paper).

    From 3 channels 1,811,712 parameters. With the 1×1 convolution to 1280 channels and the classifier for
    1000 classes that gives torchvision's 3,504,872.

    :param width: 64 stands for the published channels, 32 for half of them.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        entry = 32 * width // 64
        layers: list[nn.Module] = [_unit(in_channels, entry, 3, 2)]
        for expansion, published, blocks, stride in GROUPS:
            channels = published * width // 64
            for block in range(blocks):
                layers.append(InvertedResidual(entry, channels, expansion, 1 if block else stride))
                entry = channels
        self.features = nn.Sequential(*layers)
        steps = [f"features.{i}" for i in range(len(layers))]
        self.find_levels("mobilenetv2", steps, in_channels, output_stride)


class InvertedResidual(nn.Module):
    """1×1 convolution to more channels, 3×3 depthwise, 1×1 to few without ReLU; and the identity."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [_unit(inputs, inner, 1)] if expansion > 1 else []
        depthwise = _unit(inner, inner, 3, stride, groups=inner)
        self.conv = nn.Sequential(
            *expand, depthwise, nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.identity = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.identity else y


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))
