"""A first level for backbones that have no features at stride 2."""

from __future__ import annotations

from torch import Tensor

from medseg.networks.blocks import conv
from medseg.networks.contract import Backbone


class WithFirstLevel(Backbone):
    """A backbone whose missing level at stride 2 is a 3×3 convolution of the image, with normalisation.

    :param body: the backbone.
    :param channels: channels of the added level.
    """

    def __init__(self, body: Backbone, in_channels: int, channels: int) -> None:
        super().__init__()
        self.body: Backbone | None = body
        self.first = conv(in_channels, channels, stride=2, bias=False)
        self.widths = [channels, *body.widths[1:]]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> levels (B, widths[i], H / stride, W / stride)."""
        levels: list[Tensor] = [self.first(x)]
        return levels if self.body is None else levels + self.body(x)[1:]

    def cut(self, levels: int) -> None:
        """Remove, in place, the layers that the first ``levels`` levels do not need."""
        if levels == 1:
            self.body = None
        elif self.body is not None:
            self.body.cut(levels)
        self.widths = self.widths[:levels]

    def pretrained_key_map(self, prefix: str) -> dict[str, str]:
        """Map the body's own names."""
        return {} if self.body is None else self.body.pretrained_key_map(f"{prefix}.body")
