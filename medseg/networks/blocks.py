"""Building blocks that encoder-decoder networks share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks import positions


def conv(
    inputs: int, outputs: int, *, kernel: int = 3, batch_norm: bool = True, **options: Any
) -> nn.Sequential:
    """Build a convolution with bias, batch normalisation and ReLU, which keeps the size by default.

    Parameters: k² · Cin · Cout + Cout, and 2 · Cout for the normalisation.
    """
    options.setdefault("padding", options.get("dilation", 1) * (kernel - 1) // 2)
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, **options)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def convs(*channels: int, batch_norm: bool = True, **options: Any) -> nn.Sequential:
    """Build several :func:`conv` in a row: ``convs(3, 64, 64)`` is 3→64, 64→64."""
    return nn.Sequential(*(conv(a, b, batch_norm=batch_norm, **options) for a, b in pairwise(channels)))


Down = Literal["pool", "conv"]


def halver(way: Down, channels: int, *, batch_norm: bool) -> nn.Module:
    """Build a module (B, channels, H, W) -> (B, channels, H / 2, W / 2), for even sides.

    ``pool`` takes the maximum of each 2×2 window. ``conv`` learns what to take from it: a 2×2 convolution at
    stride 2 with normalisation and ReLU, which sees the same pixels and has 4 · channels² + channels weights.
    """
    if way == "pool":
        return nn.MaxPool2d(2)
    return conv(channels, channels, kernel=2, stride=2, padding=0, batch_norm=batch_norm)


class Pool(nn.Module):
    """2×2 max-pooling that also returns the positions of the maxima (SegNet, section 3).

    An odd side is rounded up: its last window holds one row or column less. Of equal values the first in
    raster order wins.

    :param packed: give positions in 2 bits in evaluation (:mod:`medseg.networks.positions`): a 32nd of the
        memory for a little time. Training needs them as they are.
    """

    def __init__(self, *, packed: bool = False) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> maxima and their flat positions in H·W, both (B, C, ⌈H/2⌉, ⌈W/2⌉)."""
        pooled, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        return pooled, positions.packed(index, x.shape[-1]) if self.packed and not self.training else index


class Unpool(nn.Module):
    """The counterpart of :class:`Pool`: each value goes back to its maximum's position, zeros elsewhere.

    The windows do not overlap, so no two values meet and the result is deterministic; torch's
    ``max_unpool2d`` is refused under deterministic algorithms.
    """

    def forward(self, x: Tensor, index: Tensor, size: torch.Size) -> Tensor:
        """(B, C, h, w) values and positions -> (B, C, H, W), where ``size`` ends with (H, W)."""
        index = positions.flat(index, x, size[-1])
        flat = x.new_zeros(*x.shape[:2], size[-2] * size[-1])
        return flat.scatter(2, index.flatten(2), x.flatten(2)).view(*x.shape[:2], *size[-2:])


def resized(x: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """Resize ``x`` (B, C, h, w) by bilinear interpolation to the (H, W) that ``size`` ends with."""
    if x.shape[-2:] == size[-2:]:
        return x
    return F.interpolate(x, size=size[-2:], mode="bilinear", align_corners=False)
