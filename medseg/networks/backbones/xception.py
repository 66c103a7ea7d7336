"""Xception (Chollet 2017) as a backbone, in the names of its published PyTorch weights."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from medseg.networks.backbones.staged import StagedBackbone

BLOCKS = (
    (64, 128, 128),
    (128, 256, 256),
    (256, 728, 728),
    *((728, 728, 728, 728),) * 8,
    (728, 728, 1024),
)
"""Channels before and after each separable convolution of each block; those of two halve the size."""


class Xception(StagedBackbone):
    """Two convolutions, twelve residual blocks and two separable convolutions (Figure 5 of the paper).

    With its classifier for 1000 classes it has 22,855,952 parameters. The convolutions of the stem keep the
    size, where the original ones lose a pixel a side.

    :param width: 64 stands for the published channels, 32 for half of them.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        a, b, c, d = (published * width // 64 for published in (32, 64, 1536, 2048))
        self.conv1 = nn.Conv2d(in_channels, a, 3, 2, 1, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(a), nn.ReLU()
        self.conv2 = nn.Conv2d(a, b, 3, 1, 1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(b), nn.ReLU()
        for i, published in enumerate(BLOCKS, 1):
            widths = [channels * width // 64 for channels in published]
            self.add_module(f"block{i}", Block(widths, 2 if len(widths) == 3 else 1, first=i == 1))
        entry = BLOCKS[-1][-1] * width // 64
        self.conv3 = SeparableConv(entry, c)
        self.bn3, self.relu3 = nn.BatchNorm2d(c), nn.ReLU()
        self.conv4 = SeparableConv(c, d)
        self.bn4, self.relu4 = nn.BatchNorm2d(d), nn.ReLU()
        stem = ["conv1", "bn1", "relu1", "conv2", "bn2", "relu2"]
        blocks = [f"block{i}" for i in range(1, len(BLOCKS) + 1)]
        steps = [*stem, *blocks, "conv3", "bn3", "relu3", "conv4", "bn4", "relu4"]
        self.find_levels("xception", steps, in_channels, output_stride)


class Block(nn.Module):
    """Separable convolutions, each after a ReLU, and a pooling where there is a stride; and the identity.

    :param widths: channels before and after each convolution.
    :param first: the ReLU before the first convolution is left out, since the stem ends with one.
    """

    def __init__(self, widths: list[int], stride: int, *, first: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.ReLU(), SeparableConv(inputs, outputs), nn.BatchNorm2d(outputs)]
        pool = [nn.MaxPool2d(3, stride, 1)] if stride > 1 else []
        self.rep = nn.Sequential(*layers[first:], *pool)
        changes = widths[0] != widths[-1]
        self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False) if changes else nn.Identity()
        self.skipbn = nn.BatchNorm2d(widths[-1]) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return self.rep(x) + self.skipbn(self.skip(x))  # type: ignore[no-any-return]


class SeparableConv(nn.Module):
    """3×3 depthwise convolution and a 1×1 one, without normalisation in between."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return self.pointwise(self.conv1(x))  # type: ignore[no-any-return]
