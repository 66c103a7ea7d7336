"""Forms of a trained network that give what it gives, faster: folded normalisation, other un-pooling."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks import positions
from medseg.networks.blocks import Pool, Unpool

_Net = TypeVar("_Net", bound=nn.Module)


def fold_batch_norm(network: _Net) -> _Net:
    """Copy a network in evaluation mode whose batch normalisations are part of the convolutions before them.

    Folded are those that directly follow a convolution in an ``nn.Sequential``; the rest stay as they are.
    Scales are computed in float64, so the logits are the network's own up to rounding. The copy is not for
    training.
    """
    folded = copy.deepcopy(network).eval()
    uses = Counter(id(child) for module in folded.modules() for child in module.children())
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for (_, layer), (name, norm) in pairwise(list(module.named_children())):
            if not isinstance(layer, _Convolution) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if uses[id(layer)] == uses[id(norm)] == 1 and _fold(layer, norm):
                setattr(module, name, nn.Identity())
    return folded


_Convolution = nn.Conv2d | nn.ConvTranspose2d


@torch.no_grad()
def _fold(layer: _Convolution, norm: nn.BatchNorm2d) -> bool:
    """Multiply a convolution's weights by γ / √(σ² + ε), and change its bias to match; False if it cannot."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    if norm.running_mean is None or norm.running_var is None or (transposed and layer.groups > 1):
        return False
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    along = (1, -1, 1, 1) if transposed else (-1, 1, 1, 1)
    bias = shift if layer.bias is None else shift + layer.bias.double() * scale
    layer.weight = nn.Parameter((layer.weight.double() * scale.view(along)).to(layer.weight.dtype))
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return True


def unpool_by_masks(network: _Net) -> _Net:
    """Copy a network with :class:`MaskPool` and :class:`MaskUnpool` in the places of pooling by positions.

    Bit for bit the same values, without the scatter that other runtimes are slow at.
    """
    return _with_others(network, {Pool: MaskPool, Unpool: MaskUnpool})


def unpool_by_layout(network: _Net) -> _Net:
    """Copy a network with :class:`LayoutUnpool` in the places of un-pooling: bit for bit the same values."""
    return _with_others(network, {Unpool: LayoutUnpool})


def _with_others(network: _Net, others: Mapping[type[nn.Module], type[nn.Module]]) -> _Net:
    """Copy a network with modules of other types, which have no parameters, in the places of some."""
    changed = copy.deepcopy(network)
    for module in list(changed.modules()):
        for name, child in module.named_children():
            if type(child) in others:
                setattr(module, name, others[type(child)]())
    return changed


class MaskPool(nn.Module):
    """2×2 max-pooling as the largest of four strided slices; which of them it is, as a number from 0 to 3.

    An odd side is rounded up, and of equal values the first in raster order wins, as in
    :class:`~medseg.networks.blocks.Pool`.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> maxima and their corners, both (B, C, ⌈H/2⌉, ⌈W/2⌉) float."""
        height, width = (x.shape[-2] + 1) // 2, (x.shape[-1] + 1) // 2
        x = F.pad(x, (0, 1, 0, 1), value=-torch.inf)  # always, so that graphs take odd and even sides
        corners = [x[..., row::2, column::2][..., :height, :width] for row in (0, 1) for column in (0, 1)]
        best, corner = corners[0], torch.zeros_like(corners[0])
        for number, values in enumerate(corners[1:], 1):
            corner = torch.where(values > best, float(number), corner)
            best = torch.maximum(best, values)
        return best, corner


class MaskUnpool(nn.Module):
    """The counterpart of :class:`MaskPool`: four maps, each zero where its corner lost, interleaved."""

    def forward(self, x: Tensor, corner: Tensor, size: torch.Size) -> Tensor:
        """(B, C, h, w) values and corners -> (B, C, H, W), where ``size`` ends with (H, W)."""
        none = torch.zeros_like(x)
        maps = torch.stack([torch.where(corner == number, x, none) for number in range(4)], dim=2)
        spread = F.pixel_shuffle(maps.flatten(1, 2), 2)  # (B, C, 2h, 2w)
        return spread[..., : size[-2], : size[-1]]


class LayoutUnpool(Unpool):
    """Un-pooling that keeps the memory format on a CPU, so that channels stay last for what follows.

    A scatter would bring all that follows into torch's own format. torch refuses its own un-pooling under
    deterministic algorithms, as positions might meet, which those of :class:`Pool` never do; the scatter
    stands in for it there, and on other devices.
    """

    def forward(self, x: Tensor, index: Tensor, size: torch.Size) -> Tensor:
        """(B, C, h, w) values and flat positions -> (B, C, H, W), where ``size`` ends with (H, W)."""
        if x.device.type != "cpu" or torch.are_deterministic_algorithms_enabled():
            return super().forward(x, index, size)
        index = positions.flat(index, x, size[-1])
        with torch.autocast("cpu", enabled=False):  # which would bring a lower precision back to float32
            return F.max_unpool2d(x, index, [2, 2], output_size=list(size[-2:]))
