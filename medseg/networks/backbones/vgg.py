"""VGG16 (Simonyan, Zisserman 2015) as a backbone."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks import convs
from medseg.networks.contract import Backbone
from medseg.networks.weights.pretrained import conv_names

VGG16_CONVS = (2, 2, 3, 3, 3)
"""Convolutions a level."""

VGG16_NAMES = tuple(f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
"""The 13 convolutions as torchvision's ``vgg16`` names them."""


def vgg16_widths(width: int, depth: int = 5) -> list[int]:
    """List the channels of VGG16's levels (configuration D); as published with ``width`` 64."""
    return [width * min(2**level, 8) for level in range(depth)]


class VGG16(Backbone):
    """The 13 convolutions of VGG16 (configuration D) without normalisation.

    From 3 channels 14,714,688 parameters.

    :param output_stride: 32 as published; 8 as in DeepLab: the last two poolings move by one pixel over
        3×3, and the last three convolutions have rate 2; at 16 the last pooling alone does so.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        self.widths = vgg16_widths(width)
        entries = [in_channels, *self.widths]
        first_dense = {8: 3, 16: 4}.get(output_stride, 5)  # the first pooling at stride 1
        self.stages = nn.ModuleList(
            convs(
                entries[i],
                *[self.widths[i]] * VGG16_CONVS[i],
                batch_norm=False,
                dilation=2 if i > first_dense else 1,
            )
            for i in range(5)
        )
        self.pools = nn.ModuleList(
            nn.MaxPool2d(3, stride=1, padding=1) if i >= first_dense else nn.MaxPool2d(2) for i in range(5)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> the five pooled levels, each (B, widths[i], H / stride, W / stride)."""
        levels: list[Tensor] = []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = pool(stage(x))
            levels.append(x)
        return levels

    def cut(self, levels: int) -> None:
        """Remove, in place, the layers that the first ``levels`` levels do not need."""
        self.stages, self.pools = self.stages[:levels], self.pools[:levels]
        self.widths = self.widths[:levels]

    def pretrained_key_map(self, prefix: str) -> dict[str, str]:
        """Pair the 13 convolutions, in order."""
        return conv_names(self, prefix, VGG16_NAMES)


class VGG16Classifier(nn.Module):
    """VGG16 with its three fully connected layers: one 224×224 image -> scores; 138,357,544 parameters.

    FCN-32s filled with its weights gives these scores at the window's centre.

    :param hidden: features of the first two fully connected layers.
    """

    def __init__(
        self, in_channels: int = 3, classes: int = 1000, *, width: int = 64, hidden: int = 4096
    ) -> None:
        super().__init__()
        self.backbone = VGG16(in_channels, width=width)
        self.classifier = nn.Sequential(
            nn.Linear(self.backbone.widths[4] * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 224, 224) -> (B, K)."""
        return self.classifier(self.backbone(x)[4].flatten(1))  # type: ignore[no-any-return]

    def published(self) -> dict[str, Tensor]:
        """Give the weights under torchvision's names."""
        own = self.state_dict()
        full = {name: tensor for name, tensor in own.items() if name.startswith("classifier.")}
        return {
            theirs: own[ours] for ours, theirs in self.backbone.pretrained_key_map("backbone").items()
        } | full
