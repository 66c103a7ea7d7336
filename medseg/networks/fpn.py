"""Feature pyramid network with a branch that segments (Kirillov, Girshick, He, Dollár 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from medseg.networks.backbones import BackboneName, BackboneWidth, make_backbone
from medseg.networks.blocks import conv, resized
from medseg.networks.contract import Count, Network, he_
from medseg.networks.upsample import LevelUnpool


class FPN(Network):
    """A backbone, a feature pyramid from stride 32 up to 4, and from each of its levels a way to stride 4.

    The ways double the size after each 3×3 convolution, and their sum is scored (Figure 3). Batch
    normalisation stands for the paper's group normalisation.

    :param width: channels of the backbone's first level; 64 is the published size.
    :param hidden: channels of the feature pyramid; its ways to stride 4 have half of them.
    :param up: enlarging from level to level: the paper's interpolation, or ``unpool`` to where the finer
        level has its maxima.
    """

    size_divisor = 32
    paper = "Kirillov, Girshick, He, Dollár 2019"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet50",
        width: BackboneWidth = 64,
        hidden: Count = 256,
        up: Literal["bilinear", "unpool"] = "bilinear",
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width)
        branch = max(1, hidden // 2)
        self.laterals = nn.ModuleList(nn.Conv2d(w, hidden, 1) for w in self.backbone.widths[1:])
        self.ups = nn.ModuleList(LevelUnpool(hidden, hidden) for _ in range(3 if up == "unpool" else 0))
        self.smooth = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(4))
        self.ways = nn.ModuleList(_way(hidden, branch, doublings) for doublings in range(4))
        self.head = nn.Conv2d(branch, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        _, *levels = self.backbone(x)
        features: list[Tensor] = [self.laterals[3](levels[3])]  # (B, hidden, H / 32, W / 32)
        for i in reversed(range(3)):
            lateral = self.laterals[i](levels[i])  # (B, hidden, H / 2^(i+2), W / 2^(i+2))
            above = self.ups[i](features[0], lateral) if self.ups else resized(features[0], lateral.shape)
            features.insert(0, lateral + above)
        ways = zip(self.ways, self.smooth, features, strict=True)
        # Each way ends at (B, branch, H / 4, W / 4)
        fused = torch.stack([way(smooth(level)) for way, smooth, level in ways]).sum(0)
        return resized(self.head(fused), x.shape)


def _way(inputs: int, outputs: int, doublings: int) -> nn.Sequential:
    """Build the layers (B, inputs, H, W) -> (B, outputs, 2^n · H, 2^n · W)."""
    layers: list[nn.Module] = []
    for i in range(max(1, doublings)):
        layers.append(conv(outputs if i else inputs, outputs, bias=False))
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
