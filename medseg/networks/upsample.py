"""Ways to enlarge features: bed of nails, nearest, bilinear, transposed, sub-pixel, un-pooling."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.blocks import Pool, Unpool

Way = Literal[
    "transposed", "transposed_bilinear", "subpixel", "bilinear", "nearest", "bed_of_nails", "unpool"
]


def doubler(way: Way, inputs: int, outputs: int) -> nn.Module:
    """Build a module (B, inputs, H, W) -> (B, outputs, 2H, 2W).

    ``transposed`` learns a 2×2 kernel at stride 2 (U-Net's). ``transposed_bilinear`` changes the channels by
    1×1 and learns a 4×4 kernel that starts as bilinear interpolation; ``subpixel`` learns a 3×3 kernel whose
    outputs are interleaved and that starts as nearest-neighbour. The rest change the channels by 1×1 and
    learn nothing else; ``unpool`` is :class:`LevelUnpool`, which needs the encoder's level beside, so that
    :func:`enlarged` runs the module.
    """
    if way == "unpool":
        return LevelUnpool(inputs, outputs)
    if way == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    if way == "subpixel":
        return nn.Sequential(IcnrConv(inputs, outputs * 4, 3, padding=1), nn.PixelShuffle(2))
    enlarge = {
        "transposed_bilinear": BilinearTransposed(outputs, 2),
        "bilinear": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        "nearest": nn.Upsample(scale_factor=2, mode="nearest"),
        "bed_of_nails": BedOfNails(2),
    }
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), enlarge[way])


def enlarged(up: nn.Module, x: Tensor, level: Tensor) -> Tensor:
    """Run a :func:`doubler` on ``x`` (B, inputs, H, W), beside the encoder's ``level`` (B, …, 2H, 2W)."""
    return up(x, level) if isinstance(up, LevelUnpool) else up(x)  # type: ignore[no-any-return]


class LevelUnpool(nn.Module):
    """Change of channels by 1×1, then un-pooling to where the encoder's level has its maxima (SegNet, 3.1).

    The positions are those of a 2×2 pooling of the level, for each channel. A network that keeps the level
    for a skip finds them there again and need not keep them.

    :param outputs: the level's channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 1)
        self.pool = Pool()
        self.unpool = Unpool()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, inputs, H, W) and the level (B, outputs, 2H, 2W) -> (B, outputs, 2H, 2W)."""
        _, index = self.pool(level)
        return self.unpool(self.reduce(x), index, level.shape)  # type: ignore[no-any-return]


class BedOfNails(nn.Module):
    """Enlarging with zeros: each value goes to the top left of its ``factor`` × ``factor`` block."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, factor · H, factor · W)."""
        f, (height, width) = self.factor, x.shape[2:]
        rows = x.new_zeros(*x.shape[:2], height, f * width).slice_scatter(x, 3, step=f)
        return x.new_zeros(*x.shape[:2], f * height, f * width).slice_scatter(rows, 2, step=f)


class BilinearTransposed(nn.ConvTranspose2d):
    """A learned transposed convolution over all channels that starts as bilinear interpolation by ``factor``.

    Inside, at least ``factor`` pixels from the border, it starts equal to interpolation without aligned
    corners; at the border it takes zeros from outside.

    :param kernel: its size; by default the smallest, 2 · factor − factor mod 2. A larger one starts with
        zeros around it.
    """

    def __init__(self, channels: int, factor: int, kernel: int | None = None) -> None:
        size = kernel or bilinear_size(factor)
        super().__init__(
            channels, channels, size, stride=factor, padding=(size - factor + 1) // 2, bias=False
        )

    def reset_parameters(self) -> None:
        """Set the bilinear kernel on the diagonal of the channels, zeros elsewhere."""
        if self.weight.is_meta:
            return
        taps = bilinear_kernel(bilinear_size(self.stride[0]))
        around = (self.kernel_size[0] - len(taps)) // 2
        taps = F.pad(taps, (around, around))
        nn.init.zeros_(self.weight)
        with torch.no_grad():
            for channel in range(self.in_channels):
                self.weight[channel, channel] = torch.outer(taps, taps)


class Bilinear(nn.Module):
    """:class:`BilinearTransposed` that never learns and has no parameters."""

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        taps = bilinear_kernel(bilinear_size(factor))
        self.factor = factor
        kernel = torch.outer(taps, taps).to(torch.get_default_device())
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, factor · H, factor · W)."""
        channels = x.shape[1]
        weight = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv_transpose2d(x, weight, stride=self.factor, padding=self.factor // 2, groups=channels)


class IcnrConv(nn.Conv2d):
    """Convolution before ``PixelShuffle(2)`` whose kernels start four times alike (ICNR, Aitken et al. 2017).

    One is drawn as by He et al., so the shuffled output starts as the nearest-neighbour enlargement of a
    smaller convolution.
    """

    def reset_parameters(self) -> None:
        """Draw one kernel for each shuffled channel and repeat it for its four pixels."""
        if self.weight.is_meta:  # as in contract.he_
            return
        fan_in = self.in_channels * self.kernel_size[0] * self.kernel_size[1]
        alike = torch.empty(self.out_channels // 4, *self.weight.shape[1:]).normal_(std=(2 / fan_in) ** 0.5)
        with torch.no_grad():
            self.weight.copy_(alike.repeat_interleave(4, 0))
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def bilinear_size(factor: int) -> int:
    """Count the taps of the bilinear kernel that enlarges by ``factor``."""
    return 2 * factor - factor % 2


def bilinear_kernel(size: int) -> Tensor:
    """Compute the 1-D kernel of bilinear interpolation, float32 (size,): ½, 1, ½ or ¼, ¾, ¾, ¼."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    # On the CPU, also where networks are built on meta: there torch would import its compiler for it.
    return 1 - (torch.arange(size, dtype=torch.float32, device="cpu") - centre).abs() / factor
