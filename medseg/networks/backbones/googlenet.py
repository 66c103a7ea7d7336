"""GoogLeNet (Szegedy et al. 2015) as a backbone, without normalisation or auxiliary heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.backbones.alexnet import norm, pool
from medseg.networks.backbones.staged import StagedBackbone

INCEPTIONS = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
"""Modules 3a to 5b: channels of 1×1; before and of 3×3; before and of 5×5; after pooling."""


AUXILIARY_AFTER = {13: 2, 16: 5}
"""Layers of :func:`googlenet` before the two auxiliary classifiers (4a, 4d): their modules in INCEPTIONS."""


def auxiliary_widths(width: int) -> list[int]:
    """List the channels after each of these layers."""
    modules = (_branches(INCEPTIONS[module], width) for module in AUXILIARY_AFTER.values())
    return [one + three + five + pooled for one, _, three, _, five, pooled in modules]


def googlenet(in_channels: int, *, width: int, dropout: float) -> tuple[nn.Sequential, int]:
    """Build the layers (B, C, H, W) -> (B, channels, H / 32, W / 32), and their channels.

    H and W are multiples of 32. The average over 7×7 features stays, at stride 1.

    :param width: 64 stands for the published channels, 32 for half of them.
    """
    layers, channels = _layers(in_channels, width)
    return nn.Sequential(*layers, nn.AvgPool2d(7, 1, 3), nn.Dropout(dropout)), channels


class GoogLeNet(StagedBackbone):
    """The layers up to module 5b; with the classifier for 1000 classes 6,998,552 parameters.

    :param width: 64 stands for the published channels, 32 for half of them.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layers(in_channels, width)[0])
        steps = [f"layers.{i}" for i in range(len(self.layers))]
        self.find_levels("googlenet", steps, in_channels, output_stride)


def _layers(in_channels: int, width: int) -> tuple[list[nn.Module], int]:
    """Build the layers up to module 5b, and count their channels."""
    channels = 3 * width
    layers: list[nn.Module] = [
        *(nn.Conv2d(in_channels, width, 7, 2, 3), nn.ReLU(), pool(), norm()),
        *(nn.Conv2d(width, width, 1), nn.ReLU()),
        *(nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()),
        *(norm(), pool()),
    ]
    for i, published in enumerate(INCEPTIONS):
        if i in (2, 7):  # before 4a and 5a
            layers.append(pool())
        branches = _branches(published, width)
        layers.append(Inception(channels, branches))
        channels = branches[0] + branches[2] + branches[4] + branches[5]
    return layers, channels


def _branches(published: tuple[int, ...], width: int) -> list[int]:
    return [max(1, c * width // 64) for c in published]


class Inception(nn.Module):
    """1×1, 3×3, 5×5 convolutions and a pooling side by side."""

    def __init__(self, inputs: int, channels: list[int]) -> None:
        super().__init__()
        one, before3, three, before5, five, pooled = channels
        self.one = nn.Conv2d(inputs, one, 1)
        self.three = nn.Sequential(
            nn.Conv2d(inputs, before3, 1), nn.ReLU(), nn.Conv2d(before3, three, 3, padding=1)
        )
        self.five = nn.Sequential(
            nn.Conv2d(inputs, before5, 1), nn.ReLU(), nn.Conv2d(before5, five, 5, padding=2)
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(inputs, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, one + three + five + pooled, H, W)."""
        return F.relu(torch.cat((self.one(x), self.three(x), self.five(x), self.pooled(x)), 1))
