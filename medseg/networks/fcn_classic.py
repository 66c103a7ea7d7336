"""FCN-32s on AlexNet and GoogLeNet (Long, Shelhamer, Darrell 2015, section 4.1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.backbones.alexnet import alexnet
from medseg.networks.backbones.googlenet import AUXILIARY_AFTER, auxiliary_widths, googlenet
from medseg.networks.blocks import resized
from medseg.networks.contract import Count, HeadWeight, Network, Share, he_
from medseg.networks.fcn import ZeroConv, last_enlarging


class _FCN32s(Network):
    """A backbone at stride 32, scores that start at zero, bilinear enlarging; any size, as FCN-32s."""

    paper = "Long, Shelhamer, Darrell 2015"
    backbone: nn.Sequential
    score: nn.Module

    def _finish(self, channels: int, *, learned_last: bool) -> None:
        self.score = ZeroConv(channels, self.classes, 1)
        self.enlarge = last_enlarging(self.classes, 32, learned=learned_last)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        features = self.backbone(_padded(x))  # (B, …, H / 32, W / 32)
        scores = self.enlarge(self.score(features))
        return scores[:, :, : x.shape[2], : x.shape[3]]  # type: ignore[no-any-return]


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
    :param auxiliary: weight of the losses of two heads after modules 4a and 4d, in training alone;
        GoogLeNet's is 0.3.
    """

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        dropout: Share = 0.4,
        learned_last: bool = False,
        auxiliary: HeadWeight = 0.0,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone, channels = googlenet(in_channels, width=width, dropout=dropout)
        if auxiliary:
            hidden = max(1, 2 * width)
            self.auxiliary = nn.ModuleList(_auxiliary(c, hidden, classes) for c in auxiliary_widths(width))
            self.head_weights = (auxiliary, auxiliary, 1.0)
        self._finish(channels, learned_last=learned_last)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); in training with auxiliary heads a list, the main one last."""
        if not (self.training and self.head_weights):
            return super().forward(x)
        self.require(x)
        y = padded = _padded(x)
        features: list[Tensor] = []  # (B, …, H / 16, W / 16)
        for i, layer in enumerate(self.backbone):
            y = layer(y)
            if i in AUXILIARY_AFTER:
                features.append(y)
        heads = [resized(head(f), padded.shape) for head, f in zip(self.auxiliary, features, strict=True)]
        return [head[:, :, : x.shape[2], : x.shape[3]] for head in (*heads, self.enlarge(self.score(y)))]


def _padded(x: Tensor) -> Tensor:
    """Pad (B, C, H, W) with zeros, right and below, to multiples of 32."""
    return F.pad(x, (0, -x.shape[3] % 32, 0, -x.shape[2] % 32))


def _auxiliary(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """Build GoogLeNet's auxiliary classifier for every position, without its layer of 1024 features."""
    layers = (nn.AvgPool2d(5, 1, 2), nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Dropout(0.7))
    return nn.Sequential(*layers, nn.Conv2d(hidden, classes, 1))
