"""U-Net (Ronneberger, Fischer, Brox 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.grid import centre_crop
from medseg.networks.backbones import PUBLISHED_WIDTH, BackboneName, BackboneWidth, make_contracting_path
from medseg.networks.blocks import Down, convs, halver
from medseg.networks.contract import Count, Network, Share, he_
from medseg.networks.upsample import Way, doubler, enlarged

Depth = Annotated[int, Field(ge=1, le=6)]


def contracting_levels(
    in_channels: int, widths: Sequence[int], *, batch_norm: bool, padding: int
) -> list[nn.Sequential]:
    """Build two 3×3 convolutions for each level of the contracting path, from the image to the bottom."""
    inputs = (in_channels, *widths)
    return [convs(inputs[i], w, w, batch_norm=batch_norm, padding=padding) for i, w in enumerate(widths)]


class UNet(Network):
    """A contracting path, an expanding path, and a skip at every level (Figure 1 of the paper).

    The paper's form is ``padding="valid", batch_norm=False, dropout=0.5``: 31,030,658 parameters from 1
    channel to 2 classes, 572×572 in, 388×388 out. With valid padding each pass eats 6 · 2^depth − 4 pixels a
    side and the sides must be −4 modulo 2^depth, so that every pooling sees an even number of pixels.

    With a backbone, the first level stays two convolutions at full size, and the levels below are the
    backbone's; the expanding path is the same. Padding is ``same`` then.

    :param width: channels of the first level; each level of the expanding path has twice as many as the one
        above.
    :param depth: halvings of the size; 4 by default, with a backbone 5, all of its levels.
    :param padding: ``same`` keeps the size; ``valid`` convolves where the kernel fits.
    :param dropout: share dropped at the end of the contracting path, after its last two levels.
    :param down: ``pool``, or ``conv`` for learned 2×2 convolutions at stride 2.
    :param up: way in which the expanding path enlarges features (:mod:`medseg.networks.upsample`); ``unpool``
        takes the positions of the maxima from the skip.
    :param backbone: a classifier's body as the contracting path.
    :param backbone_width: its channels; 64 stands for the published ones.
    """

    paper = "Ronneberger, Fischer, Brox 2015"

    def __init__(  # noqa: PLR0913  # a recipe's keywords
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth | None = None,
        padding: Literal["same", "valid"] = "same",
        batch_norm: bool = True,
        dropout: Share = 0.0,
        down: Down = "pool",
        up: Way = "transposed",
        backbone: BackboneName | None = None,
        backbone_width: BackboneWidth = PUBLISHED_WIDTH,
    ) -> None:
        super().__init__(in_channels, classes)
        depth = depth or (5 if backbone else 4)
        w = [width * 2**level for level in range(depth + 1)]
        pad = 1 if padding == "same" else 0
        self.size_divisor = 2**depth
        self.size_remainder = 0 if pad else -4 % self.size_divisor
        self.border = 0 if pad else 6 * self.size_divisor - 4
        if up == "unpool" and not pad:
            details, how_to_fix = (
                "up='unpool' with padding='valid': the positions lie on another grid",
                "use same",
            )
            raise MedsegError(Code.KEYWORD_INVALID, "unet", details, f"{how_to_fix} padding or another up")
        if backbone is None:
            self.backbone, channels = None, w
            *contracting, bottom = contracting_levels(in_channels, w, batch_norm=batch_norm, padding=pad)
            for level in (contracting[-1], bottom):
                level.append(nn.Dropout(dropout))
        else:
            if padding != "same" or down != "pool":
                key = f"padding={padding!r}" if padding != "same" else f"down={down!r}"
                details, how_to_fix = f"{key} with a backbone", "leave out one of them"
                raise MedsegError(Code.KEYWORD_INVALID, "unet", details, how_to_fix)
            self.backbone = make_contracting_path(backbone, in_channels, width=backbone_width, levels=depth)
            channels = [width, *self.backbone.widths]
            contracting = [convs(in_channels, width, width, batch_norm=batch_norm)]
            bottom = nn.Sequential(nn.Dropout(dropout))
        self.encoders = nn.ModuleList(contracting)
        self.downs = nn.ModuleList(halver(down, level, batch_norm=batch_norm) for level in w[:depth])
        self.bottom = bottom
        below = [*w[1:depth], channels[depth]]  # channels that are enlarged to each level
        above = channels if up == "unpool" else w  # channels of the enlarged features
        self.ups = nn.ModuleList(doubler(up, below[i], above[i]) for i in range(depth))
        self.decoders = nn.ModuleList(
            convs(channels[i] + above[i], w[i], w[i], batch_norm=batch_norm, padding=pad)
            for i in range(depth)
        )
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H − 2 · border, W − 2 · border)."""
        self.require(x)
        skips: list[Tensor] = []
        if self.backbone is not None:
            skips = [self.encoders[0](x), *self.backbone(x)]
            x = skips.pop()
        else:
            for encoder, down in zip(self.encoders, self.downs, strict=True):
                skips.append(encoder(x))  # (B, width · 2^i, H / 2^i, W / 2^i)
                x = down(skips[-1])
        x = self.bottom(x)  # (B, …, H / 2^depth, W / 2^depth)
        for i in reversed(range(len(skips))):
            x = enlarged(self.ups[i], x, skips[i])  # (B, width · 2^i, H / 2^i, W / 2^i)
            skip = centre_crop(skips[i], x.shape) if self.border else skips[i]
            x = self.decoders[i](torch.cat((skip, x), 1))
        return self.head(x)  # type: ignore[no-any-return]
