"""Numbers by which papers describe networks, counted by following one forward pass on the ``meta`` device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.networks.blocks import Pool
from medseg.networks.contract import Network
from medseg.networks.positions import BITS
from medseg.networks.upsample import LevelUnpool

_BITS_OF_A_VALUE = 32
_PIXELS_OF_A_WINDOW = 4
_POSITIONS = (torch.int64, torch.uint8)
"""Types of positions of maxima, as torch gives them and packed."""

_POOLS = ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d")


@dataclass(frozen=True)
class Layer:
    """A convolution: its name, the (C, H, W) of its output for one image, and its parameters.

    ``megabytes`` is the memory of the output in float32, in MiB.
    """

    name: str
    output: tuple[int, int, int]
    parameters: int

    @property
    def megabytes(self) -> float:
        """Memory of the output in float32, MiB."""
        return math.prod(self.output) * 4 / 2**20


@dataclass(frozen=True)
class Measures:
    """A network's size, and what it does to an image of ``size`` (H, W) px.

    ``kernels`` are the parameters of convolutions without biases. ``conv_layers`` counts convolutions along
    the longest way through the network, without transposed ones, as papers count layers. ``max_stride`` is
    the coarsest grid of features in px. ``storage_multiplier`` is SegNet's (Table 1): the memory of what the
    decoder takes from the encoder's finest level that it uses, in maps of float32 of the size at which it
    uses them; positions of maxima are 2 bits for each window of four pixels, so that those of 64 channels
    count 1. It is 0 where the decoder takes nothing but the encoder's end. ``positions`` is the number of
    positions of maxima that all levels keep for the decoder.
    """

    size: tuple[int, int]
    parameters: int
    kernels: int
    conv_layers: int
    max_stride: int
    storage_multiplier: float
    positions: int
    layers: tuple[Layer, ...]

    @property
    def convolutions(self) -> int:
        """Number of all convolutions."""
        return len(self.layers)


def measure(network: Network, size: tuple[int, int]) -> Measures:
    """Follow one image of at least ``size`` (H, W) px, of a size that the network takes, in evaluation mode.

    ``network`` lies on the ``meta`` device.
    """
    height, width = (network.size_from(side) for side in size)
    layers: list[Layer] = []
    hooks = [
        module.register_forward_hook(_report(name, layers))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    positions: list[int] = []
    hooks += [pool.register_forward_hook(_count_positions(positions)) for pool in _pools_that_keep(network)]
    try:
        image = torch.zeros(1, network.in_channels, height, width, device="meta")
        network.eval()
        with torch.no_grad(), _Trace(image) as trace:
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return Measures(
        size=(height, width),
        parameters=sum(p.numel() for p in network.parameters()),
        kernels=sum(m.weight.numel() for m in convolutions),
        conv_layers=max((t.depth for t in trace.tensors), default=0),
        max_stride=round(trace.max_stride),
        storage_multiplier=trace.storage_multiplier(),
        positions=sum(positions),
        layers=tuple(layers),
    )


def _report(name: str, layers: list[Layer]) -> Callable[..., None]:
    def hook(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        _, channels, height, width = output.shape
        count = sum(p.numel() for p in module.parameters())
        layers.append(Layer(name, (channels, height, width), count))

    return hook


def _pools_that_keep(network: Network) -> list[Pool]:
    """Poolings whose positions wait for the decoder, not those that read them from a skip again."""
    again = {id(module.pool) for module in network.modules() if isinstance(module, LevelUnpool)}
    return [module for module in network.modules() if isinstance(module, Pool) and id(module) not in again]


def _count_positions(positions: list[int]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        positions.append(output[0].numel())

    return hook


@dataclass
class _Traced:
    """A tensor of the pass: the operation that made it and the last that used it, by number.

    ``stride`` is the distance of its pixels in px, None after pooling to a size; ``depth`` counts the
    convolutions before it.
    """

    tensor: Tensor
    created: int
    used: int
    stride: Fraction | None
    depth: int


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's mode has no hints
    """Follows strides, depths and uses of everything that comes from an image (1, C, H, W)."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {id(image): _Traced(image, 0, 0, Fraction(1), 0)}
        self._number = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler (one second) for what is never compiled."""
        return False

    @property
    def tensors(self) -> list[_Traced]:
        """All of them, in the order in which they were made."""
        return list(self._known.values())

    @property
    def max_stride(self) -> Fraction:
        """The coarsest stride of all."""
        return max(t.stride for t in self.tensors if t.stride is not None)

    def storage_multiplier(self) -> float:
        """Memory of what is made before the coarsest stride is reached and used after it, at its finest."""
        coarsest = self.max_stride
        reached = next(t.created for t in self.tensors if t.stride == coarsest)
        kept = [
            t
            for t in self.tensors[1:]
            if t.created < reached < t.used and t.stride is not None and t.stride < coarsest
        ]
        if not kept:
            return 0.0
        finest = min(t.stride for t in kept if t.stride is not None)
        return sum(_maps(t.tensor) for t in kept if t.stride == finest)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._number += 1
        given = [self._known[id(t)] for t in tree_leaves((args, kwargs)) if id(t) in self._known]
        for one in given:
            one.used = self._number
        if not given:
            return result
        schema = func._schema  # type: ignore[attr-defined]
        name = schema.name.removeprefix("aten::")
        values = dict(zip((a.name for a in schema.arguments), args, strict=False))
        depth = max(one.depth for one in given)
        is_layer = name == "convolution" and not values["transposed"]
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and id(tensor) not in self._known:
                stride = _stride_after(name, values, given, tensor)
                self._known[id(tensor)] = _Traced(
                    tensor, self._number, self._number, stride, depth + is_layer
                )
        return result


def _stride_after(
    name: str, values: Mapping[str, Any], given: Sequence[_Traced], output: Tensor
) -> Fraction | None:
    """Give the stride of an operation's output; None where it has lost its place in the image."""
    strides = [one.stride for one in given if one.stride is not None]
    before = given[0].tensor.shape
    if not strides or output.ndim < 2 or "adaptive" in name or name == "mean":
        return None
    if name == "convolution" or name in _POOLS:
        step: Sequence[int] = values.get("stride") or values["kernel_size"]
        return strides[0] / step[0] if values.get("transposed") else strides[0] * step[0]
    if name.startswith(("upsample", "pixel_shuffle")):
        return strides[0] * Fraction(before[-2], output.shape[-2])
    return min(strides)


def _maps(tensor: Tensor) -> float:
    """Memory of a tensor (1, C, H, W), in maps of float32 of its size; of positions, of the pooled size."""
    if tensor.dtype in _POSITIONS:
        return tensor.shape[1] * BITS / (_BITS_OF_A_VALUE * _PIXELS_OF_A_WINDOW)
    return tensor.shape[1] * 8 * tensor.element_size() / _BITS_OF_A_VALUE
