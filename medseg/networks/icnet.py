"""ICNet (Zhao, Qi, Shen, Shi, Jia 2018); its count is not checked against the paper."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.backbones import BackboneName, BackboneWidth, make_backbone
from medseg.networks.blocks import conv, resized
from medseg.networks.contract import Count, Network, he_
from medseg.networks.pyramid import PyramidPooling


class ICNet(Network):
    """A cascade of three resolutions (section 3.2, Figure 2 of the paper).

    The image at a quarter of its size goes through a whole backbone, at half through the same backbone's
    first levels, and at full size through three strided convolutions; each joins what comes from below. In
    training a list of heads, the coarsest first; in evaluation the finest.

    :param width: channels of the backbone's first level; 64 is the size of the published ResNet; the paper's
        pruned model has 32.
    :param hidden: channels in which the resolutions are joined.
    """

    size_divisor = 64
    paper = "Zhao, Qi, Shen, Shi, Jia 2018"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        backbone: BackboneName = "resnet50",
        width: BackboneWidth = 64,
        hidden: Count = 128,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width, output_stride=8)
        widths = self.backbone.widths
        self.pyramid = PyramidPooling(widths[4], hidden)
        self.reduce = conv(self.pyramid.outputs, hidden, bias=False)
        self.detail = nn.Sequential(
            conv(in_channels, width // 2, stride=2, bias=False),
            conv(width // 2, width // 2, stride=2, bias=False),
            conv(width // 2, width, stride=2, bias=False),
        )
        self.join_half = CascadeFusion(hidden, widths[2], hidden)
        self.join_full = CascadeFusion(hidden, width, hidden)
        self.heads = nn.ModuleList(nn.Conv2d(hidden, classes, 1) for _ in range(3))
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); in training a list of three."""
        self.require(x)
        quarter = self.backbone(F.avg_pool2d(x, 4))[4]  # (B, widths[4], H / 32, W / 32)
        half = self.backbone(F.avg_pool2d(x, 2))[2]  # (B, widths[2], H / 16, W / 16)
        full = self.detail(x)  # (B, width, H / 8, W / 8)
        coarse = _doubled(self.reduce(self.pyramid(quarter)))  # (B, hidden, H / 16, W / 16)
        middle = _doubled(self.join_half(coarse, half))  # (B, hidden, H / 8, W / 8)
        fine = _doubled(self.join_full(middle, full))  # (B, hidden, H / 4, W / 4)
        if not self.training:
            return resized(self.heads[2](fine), x.shape)
        levels = zip(self.heads, (coarse, middle, fine), strict=True)
        return [resized(head(level), x.shape) for head, level in levels]


class CascadeFusion(nn.Module):
    """Sum of enlarged coarse features, after a 3×3 convolution of rate 2, and finer ones (Figure 3)."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.Conv2d(coarse, outputs, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(outputs)
        )
        self.fine = nn.Sequential(nn.Conv2d(fine, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, coarse, H, W) and (B, fine, H, W) -> (B, outputs, H, W)."""
        return F.relu(self.coarse(coarse) + self.fine(fine))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
