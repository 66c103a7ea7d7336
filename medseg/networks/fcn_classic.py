"""FCN-32s on AlexNet and GoogLeNet (Long, Shelhamer, Darrell 2015, section 4.1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.backbones.alexnet import alexnet
from medseg.networks.backbones.googlenet import googlenet
from medseg.networks.contract import Count, Network, Share, he_
from medseg.networks.fcn import ZeroConv, last_enlarging


class _FCN32s(Network):
    """A backbone at stride 32, scores that start at zero, bilinear enlarging; any size, as FCN-32s."""

    paper = "Long, Shelhamer, Darrell 2015"
    backbone: nn.Module
    score: nn.Module

    def _finish(self, channels: int, *, learned_last: bool) -> None:
        self.score = ZeroConv(channels, self.classes, 1)
        self.enlarge = last_enlarging(self.classes, 32, learned=learned_last)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        height, width = x.shape[-2:]
        features = self.backbone(F.pad(x, (0, -width % 32, 0, -height % 32)))  # (B, …, H / 32, W / 32)
        return self.enlarge(self.score(features))[:, :, :height, :width]  # type: ignore[no-any-return]


class FCNAlexNet(_FCN32s):
    """FCN-32s on the original AlexNet: 56,954,261 parameters from 3 to 21.

    :param width: 64 stands for the published channels of the five convolutions, 32 for half of them; a
        multiple of 4, so that two groups share them evenly.
    :param hidden: channels of the two layers that were fully connected.
    :param learned_last: also learn the enlarging, which starts bilinear.
    """

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Annotated[int, Field(ge=4, multiple_of=4)] = 64,
        hidden: Count = 4096,
        dropout: Share = 0.5,
        learned_last: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = alexnet(in_channels, width=width, hidden=hidden, dropout=dropout)
        self._finish(hidden, learned_last=learned_last)


class FCNGoogLeNet(_FCN32s):
    """FCN-32s on GoogLeNet: 5,995,077 parameters from 3 to 21.

    :param width: 64 stands for the published channels, 32 for half of them.
    :param learned_last: also learn the enlarging, which starts bilinear.
    """

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        dropout: Share = 0.4,
        learned_last: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone, channels = googlenet(in_channels, width=width, dropout=dropout)
        self._finish(channels, learned_last=learned_last)
