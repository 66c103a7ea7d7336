"""ResNet (He, Zhang, Ren, Sun 2016) as a backbone, in torchvision's names."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.backbones.staged import StagedBackbone

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Residual blocks of the four stages, by the number of layers."""


class ResNet(StagedBackbone):
    """Stem and four stages of residual blocks (Table 1 of the paper).

    With its classifier for 1000 classes it has torchvision's 11,689,512 (18 layers), 21,797,672 (34),
    25,557,032 (50), 44,549,160 (101) and 60,192,808 (152) parameters.
    """

    def __init__(
        self, in_channels: int, *, layers: int = 50, width: int = 64, output_stride: int = 32
    ) -> None:
        super().__init__()
        block = Basic if layers < 50 else Bottleneck
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        entry = width
        for stage, count in enumerate(BLOCKS[layers]):
            inner = width * 2**stage
            blocks = [block(entry, inner, 2 if stage else 1)]
            entry = inner * block.expansion
            blocks += [block(entry, inner, 1) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        steps = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        self.find_levels(f"resnet{layers}", steps, in_channels, output_stride)


class Basic(nn.Module):
    """Two 3×3 convolutions, the first with the stride, and the identity."""

    expansion = 1

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = _shortcut(inputs, inner, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, inner, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and the identity; the 3×3 one has the stride."""

    expansion = 4

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        self.downsample = _shortcut(inputs, 4 * inner, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 · inner, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Build the identity where the shapes allow it, otherwise a 1×1 convolution."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
