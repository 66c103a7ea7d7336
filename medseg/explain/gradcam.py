"""Grad-CAM (Selvaraju et al. 2017) for segmentation: the evidence of a layer for a class.

For the score y, the sum of a class's logits over the pixels that get it (over all where none does), and a
layer's features A_k (H', W'):

    α_k = mean over positions of ∂y/∂A_k,    map = ReLU(Σ_k α_k A_k) / its maximum

enlarged bilinearly to the slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.networks.contract import Network

_SIDE = 64
"""Pixels of the empty slice on which layers are looked at."""

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NOT_LINEAR = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU),
    *(nn.modules.batchnorm._NormBase, nn.GroupNorm),
)
"""Layers after which features are no class scores yet."""


def gradcam(
    network: Network,
    slab: Array,
    class_index: int,
    layer: str | None = None,
    threshold: float | None = None,
) -> npt.NDArray[np.float32]:
    """Map the evidence of a layer for a class in a slab (C·D, H, W) float32: (H, W) float32, 0 to 1.

    ``layer`` is a name of ``network.named_modules()`` that gives features over the image, by default what
    :func:`chosen_layer` says. All zeros where nothing speaks for the class. The network is run in evaluation
    mode and left as it was. With a ``threshold`` the class is a mask that may overlap others, and the pixels
    that get it are those where the sigmoid of its logit is above that. Raises KEYWORD_INVALID, with the names
    there are, for another layer, and for one whose place in the slice is not known: of a network that shrinks
    the image only layers as large as its output will do.
    """
    height, width = slab.shape[-2:]
    with torch.enable_grad():
        record = _run(network, slab)
        features = _features(record, layer or record.before_head(network.classes))
        score = _score(record.logits[..., :height, :width], class_index, threshold)
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(score, features, allow_unused=True)
    gradient = gradients[0]
    if gradient is None:
        return np.zeros((height, width), np.float32)
    with torch.no_grad():
        heat = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
        size = (record.logits.shape[2], record.logits.shape[3])
        if network.border and heat.shape[2:] != size:
            given = f"{layer} gives {tuple(heat.shape[2:])} px where the output has {size}"
            raise MedsegError(Code.KEYWORD_INVALID, "layer", given, "choose a layer as large as the output")
        heat = F.interpolate(heat, size=size, mode="bilinear", align_corners=False)[0, 0, :height, :width]
        shown: npt.NDArray[np.float32] = (heat / heat.max().clamp_min(1e-30)).cpu().numpy()
    return shown


def chosen_layer(network: Network, layer: str | None = None) -> str:
    """``layer``, or by default the layer whose features over the image the head turns into class scores.

    The head is the convolution to class scores, after which nothing bends them any more: where there are
    several, as for the scores of several depths, the one with most input channels, the latest of equals.
    Raises KEYWORD_INVALID, with the names there are, for a layer that gives no features over the image.
    """
    side = _SIDE - 2 * network.border
    slab = np.zeros((network.in_channels, max(1, side), max(1, side)), np.float32)
    record = _run(network, slab)
    if layer is not None:
        _features(record, layer)
    return layer or record.before_head(network.classes)


@dataclass
class _Record:
    """The layers of a forward pass: the first input and the output of each, in the order of finishing."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    layers: list[tuple[str, nn.Module]] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def note(self, name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A forward hook."""
        first = output[0] if isinstance(output, tuple | list) else output
        if not (isinstance(first, Tensor) and inputs and isinstance(inputs[0], Tensor)):
            return
        self.outputs.pop(name, None)  # a layer that runs again stands where it ran last
        self.inputs[name], self.outputs[name] = inputs[0], first
        self.layers.append((name, layer))

    @property
    def spatial(self) -> list[str]:
        """Names of layers with features (1, C, H', W') over the image."""
        return [name for name, x in self.outputs.items() if x.ndim == 4 and x.shape[2] * x.shape[3] > 1]

    def before_head(self, classes: int) -> str:
        """See :func:`chosen_layer`."""
        heads: list[tuple[int, str]] = []
        for name, layer in reversed(self.layers):
            if isinstance(layer, _NOT_LINEAR):
                break
            if isinstance(layer, _CONVOLUTIONS) and layer.out_channels == classes:
                heads.append((layer.in_channels, name))
        if not heads:
            return self.spatial[-1]
        widest = max(channels for channels, _ in heads)
        head = next(name for channels, name in heads if channels == widest)
        order = list(self.outputs)
        given = [name for name in self.spatial if self.outputs[name] is self.inputs[head]]
        earlier = [name for name in self.spatial if order.index(name) < order.index(head)]
        return (given or earlier or self.spatial)[-1]


def _run(network: Network, slab: Array) -> _Record:
    """One forward pass in evaluation mode, mirrored to a size and border that the network takes."""
    border_px = network.border
    extra = [network.size_from(n + 2 * border_px) - n - 2 * border_px for n in slab.shape[-2:]]
    border = [(0, 0), *((border_px, border_px + more) for more in extra)]
    first = next(network.parameters())
    x = torch.as_tensor(np.pad(slab, border, mode="reflect")[None], dtype=first.dtype, device=first.device)
    record = _Record()
    with _evaluating(network):
        hooks = [
            layer.register_forward_hook(partial(record.note, name))
            for name, layer in network.named_modules()
            if name
        ]
        try:
            record.logits = network(x.requires_grad_())
        finally:
            for hook in hooks:
                hook.remove()
    return record


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and afterwards give each layer its mode back."""
    training = [layer for layer in network.modules() if layer.training]
    network.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True


def _features(record: _Record, layer: str) -> Tensor:
    if layer not in record.spatial:
        names = ", ".join(record.spatial)
        raise MedsegError(Code.KEYWORD_INVALID, "layer", f"no features at {layer!r}", f"use one of {names}")
    return record.outputs[layer]


def _score(logits: Tensor, class_index: int, threshold: float | None) -> Tensor:
    """The sum of a class's logits (1, K, H, W) over the pixels that get it, over all where none does."""
    own = logits[0, class_index]
    chosen = logits[0].argmax(0) == class_index if threshold is None else own.sigmoid() > threshold
    return own[chosen].sum() if bool(chosen.any()) else own.sum()
