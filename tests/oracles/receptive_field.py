"""Receptive fields by trial: gradients of single outputs through a linear copy of the network."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.blocks import Pool, Unpool
from medseg.networks.contract import Network
from medseg.networks.tools.receptive_field import ReceptiveField
from medseg.networks.upsample import Bilinear

_PERIOD = 64
"""Poolings repeat their phase after this many pixels in every network here."""

_LARGEST = 4096
"""Fields that do not fit in this many pixels count as the whole image."""


def receptive_field(network: Network, layer: str = "") -> ReceptiveField | None:
    """The field of the logits, or of the layer of this name (``named_modules``); none = the whole image.

    Every value that can have an influence counts: pooling sees its whole window, un-pooling hands on the
    whole window, normalisation is left out. The network is not changed and may lie on the ``meta`` device.
    """
    traced = _traced(network).train()
    side = _PERIOD
    while side <= _LARGEST:
        side = network.size_from(side)
        seen = _extents(traced, side, layer)
        if seen is not None:
            widths, outputs = seen
            longer = _rows(traced, side + 2 * _PERIOD, layer)[1].shape[2]
            return ReceptiveField(tuple(sorted(set(widths))), 2 * _PERIOD // (longer - outputs))
        side *= 2
    return None


def _extents(network: Network, side: int, layer: str) -> tuple[list[int], int] | None:
    """Side lengths seen by the middle outputs and the number of outputs; none if one sees the border."""
    x, output = _rows(network, side, layer)
    outputs = output.shape[2]
    phases = max(1, min(outputs, _PERIOD * outputs // side))
    widths: list[int] = []
    for row in range((outputs - phases) // 2, (outputs + phases) // 2):
        (gradient,) = torch.autograd.grad(output[0, 0, row].sum(), x, retain_graph=True)
        (seen,) = gradient[0].sum((0, 2)).nonzero(as_tuple=True)
        if seen[0] == 0 or seen[-1] == side - 1:
            return None
        widths.append(int(seen[-1] - seen[0]) + 1)
    return widths, outputs


def _rows(network: Network, side: int, layer: str) -> tuple[Tensor, Tensor]:
    """A narrow input (1, C, side, smallest width) and the layer's output for it."""
    caught: list[Tensor] = []
    traced = network.get_submodule(layer)
    hook = traced.register_forward_hook(lambda _, __, output: caught.append(_summed(output)))
    x = torch.ones(
        1, network.in_channels, side, network.size_from(1), dtype=torch.float64, requires_grad=True
    )
    network(x)
    hook.remove()
    return x, caught[-1]


def _summed(output: Tensor | list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The only output; of a list of heads, their sum; of a pooling with positions, what it pooled."""
    if isinstance(output, list):
        return torch.stack(output).sum(0)
    return output if isinstance(output, Tensor) else output[0]


def _traced(network: Network) -> Network:
    """A copy in which every layer is linear and positive and has one channel; no weights are copied."""
    shared: dict[int, object] = {id(t): t for t in [*network.parameters(), *network.buffers()]}
    traced = copy.deepcopy(network, shared)
    for parent in list(traced.modules()):
        for name, child in parent.named_children():
            setattr(parent, name, _linear(child))
    return traced


def _linear(layer: nn.Module) -> nn.Module:
    match layer:
        case nn.Conv2d() | nn.ConvTranspose2d():
            return _Mean(layer)
        case Bilinear():
            return _Mean(nn.ConvTranspose2d(1, 1, layer.kernel.shape[0], layer.factor, layer.factor // 2))
        case nn.MaxPool2d():
            return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
        case Pool():
            return _PoolMean()
        case Unpool():
            return _UnpoolAll()
        case nn.PixelShuffle():
            return nn.Upsample(scale_factor=layer.upscale_factor)
        case nn.modules.batchnorm._NormBase() | nn.GroupNorm() | nn.LocalResponseNorm():
            return nn.Identity()
        case (
            nn.ReLU() | nn.ReLU6() | nn.LeakyReLU() | nn.PReLU() | nn.ELU() | nn.modules.dropout._DropoutNd()
        ):
            return nn.Identity()
    return layer


class _Mean(nn.Module):
    """The mean over the kernel and all channels, with the convolution's stride, padding and rate."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        taps = math.prod(layer.kernel_size)
        self.kernel = torch.full((1, 1, *layer.kernel_size), 1 / taps, dtype=torch.float64)
        options: dict[str, Any] = {k: getattr(layer, k) for k in ("stride", "padding", "dilation")}
        if isinstance(layer, nn.ConvTranspose2d):
            options["output_padding"] = layer.output_padding
        function = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
        self.apply_kernel = partial(function, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_kernel(x.mean(1, keepdim=True), self.kernel)


class _PoolMean(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return F.avg_pool2d(x, 2, ceil_mode=True), None


class _UnpoolAll(nn.Module):
    def forward(self, x: Tensor, index: None, size: torch.Size) -> Tensor:
        return F.interpolate(x, scale_factor=2)[:, :, : size[-2], : size[-1]]
