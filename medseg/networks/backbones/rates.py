"""Rates in place of strides (atrous convolution), in the layers of any body.

After it the features are those of the body with its strides, at the positions that both have, and new ones in
between (Chen et al. 2017, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

_LAYERS = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


@dataclass(frozen=True)
class LayerCall:
    """A layer with a window, the sides of its input and output, and the padding module before it, if any."""

    name: str
    layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
    side: int
    output_side: int
    padding: nn.ConstantPad2d | None


class LayerCalls:
    """Context that lists the calls of a body's convolutions and poolings, in order."""

    def __init__(self, body: nn.Module) -> None:
        self.calls: list[LayerCall] = []
        self.image_side = 0
        self._body = body
        self._names = {module: name for name, module in body.named_modules()}
        self._padding: tuple[nn.ConstantPad2d, int] | None = None

    def __enter__(self) -> Self:
        layers = [module for module in self._names if isinstance(module, _LAYERS | nn.ConstantPad2d)]
        self._hooks = [layer.register_forward_hook(self._record) for layer in layers]
        self._hooks.append(self._body.register_forward_pre_hook(self._see_image))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _see_image(self, _body: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.image_side = inputs[0].shape[-1]

    def _record(self, layer: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        side = inputs[0].shape[-1]
        if isinstance(layer, nn.ConstantPad2d):
            self._padding = layer, side
            return
        padding, side = self._padding or (None, side)
        self._padding = None
        self.calls.append(LayerCall(self._names[layer], layer, side, output.shape[-1], padding))


def strides_to_rates(body: nn.Module, seen: LayerCalls, output_stride: int) -> None:
    """Change the layers of ``body`` in place so that no features are smaller than at ``output_stride``.

    A layer whose input already has that stride loses its own, and has the rate that its input had lost.
    """
    for call in seen.calls:
        before, after = (seen.image_side // side for side in (call.side, call.output_side))
        rate, keeps_size = max(1, before // output_stride), after > output_stride
        if rate == 1 and not keeps_size:
            continue
        layer = call.layer
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1) if keeps_size else layer.stride
            layer.dilation = (rate * layer.dilation[0], rate * layer.dilation[1])
            if call.padding is not None:
                _widen(call.padding, layer.kernel_size, rate)
            elif not isinstance(layer.padding, str):
                layer.padding = (rate * layer.padding[0], rate * layer.padding[1])
            continue
        parent, _, child = call.name.rpartition(".")
        if isinstance(layer, nn.MaxPool2d):
            setattr(body.get_submodule(parent), child, _max_pool(layer, rate, keeps_size=keeps_size))
        elif keeps_size and _number(layer.kernel_size) == _number(layer.stride) == 2:
            setattr(body.get_submodule(parent), child, PairMean(rate))


def _max_pool(layer: nn.MaxPool2d, rate: int, *, keeps_size: bool) -> nn.Module:
    """Build the pooling with a rate; its padding, which torch bounds by the kernel, is a layer of its own."""
    padding = rate * _number(layer.padding)
    stride = 1 if keeps_size else _number(layer.stride)
    pool = nn.MaxPool2d(_number(layer.kernel_size), stride, dilation=rate * _number(layer.dilation))
    return nn.Sequential(nn.ConstantPad2d(padding, -torch.inf), pool)


class PairMean(nn.Module):
    """2×2 average pooling at stride 1: the means of pixels ``rate`` apart, the last repeated."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        for axis in (2, 3):
            size = x.shape[axis]
            after = torch.cat(
                (x.narrow(axis, self.rate, size - self.rate), x.narrow(axis, size - self.rate, self.rate)),
                axis,
            )
            x = (x + after) / 2
        return x


def _widen(padding: nn.ConstantPad2d, kernel: tuple[int, ...], rate: int) -> None:
    """Pad for a convolution of stride 1 and this rate, whose first window lies where it lay."""
    left, _, top, _ = padding.padding
    right = (kernel[1] - 1 - left) * rate
    padding.padding = (left * rate, right, top * rate, (kernel[0] - 1 - top) * rate)


def _number(value: int | tuple[int, ...] | None) -> int:
    """Take the one number of a square window's option."""
    return value if isinstance(value, int) else value[0] if value else 0
