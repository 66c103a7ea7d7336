"""FCN-32s on the AlexNet and GoogLeNet of Long, Shelhamer, Darrell 2015."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.contract import Count, Network, Share, he_
from medseg.networks.fcn import ZeroConv
from medseg.networks.upsample import Bilinear


class _FCN32s(Network):
    """A backbone at stride 32, scores that start at zero, bilinear enlarging; any size, as FCN-32s."""

    paper = "Long, Shelhamer, Darrell 2015"
    backbone: nn.Module
    score: nn.Module

    def _finish(self, channels: int) -> None:
        self.score = ZeroConv(channels, self.classes, 1)
        self.enlarge = Bilinear(32)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        height, width = x.shape[-2:]
        features = self.backbone(F.pad(x, (0, -width % 32, 0, -height % 32)))  # (B, …, H / 32, W / 32)
        return self.enlarge(self.score(features))[:, :, :height, :width]  # type: ignore[no-any-return]


class FCNAlexNet(_FCN32s):
    """The original AlexNet, with its convolutions in two groups: 56,954,261 parameters from 3 to 21.

    :param width: 64 stands for the published channels of the five convolutions, 32 for half of them; a
        multiple of 4, so that two groups share them evenly.
    :param hidden: channels of the two layers that were fully connected.
    """

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Annotated[int, Field(ge=4, multiple_of=4)] = 64,
        hidden: Count = 4096,
        dropout: Share = 0.5,
    ) -> None:
        super().__init__(in_channels, classes)
        a, b, c = (published * width // 64 for published in (96, 256, 384))
        self.backbone = nn.Sequential(
            *(nn.Conv2d(in_channels, a, 11, 4, 5), nn.ReLU(), _pool(), _norm()),
            *(nn.Conv2d(a, b, 5, padding=2, groups=2), nn.ReLU(), _pool(), _norm()),
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, c, 3, padding=1, groups=2), nn.ReLU()),
            *(nn.Conv2d(c, b, 3, padding=1, groups=2), nn.ReLU(), _pool()),
            *(nn.ZeroPad2d((2, 3, 2, 3)), nn.Conv2d(b, hidden, 6), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Dropout(dropout)),
        )
        self._finish(hidden)


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


class FCNGoogLeNet(_FCN32s):
    """GoogLeNet without normalisation or auxiliary heads: 5,995,077 parameters from 3 to 21.

    Its average over 7×7 features stays, at stride 1.

    :param width: 64 stands for the published channels, 32 for half of them.
    """

    def __init__(
        self, in_channels: Count, classes: Count, *, width: Count = 64, dropout: Share = 0.4
    ) -> None:
        super().__init__(in_channels, classes)
        stem = width, 3 * width
        layers: list[nn.Module] = [
            *(nn.Conv2d(in_channels, stem[0], 7, 2, 3), nn.ReLU(), _pool(), _norm()),
            *(
                nn.Conv2d(stem[0], stem[0], 1),
                nn.ReLU(),
                nn.Conv2d(stem[0], stem[1], 3, padding=1),
                nn.ReLU(),
            ),
            *(_norm(), _pool()),
        ]
        entry = stem[1]
        for i, published in enumerate(INCEPTIONS):
            if i in (2, 7):  # before 4a and 5a
                layers.append(_pool())
            channels = [max(1, c * width // 64) for c in published]
            layers.append(Inception(entry, channels))
            entry = channels[0] + channels[2] + channels[4] + channels[5]
        self.backbone = nn.Sequential(*layers, nn.AvgPool2d(7, 1, 3), nn.Dropout(dropout))
        self._finish(entry)


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


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, 1)


def _norm() -> nn.Module:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
