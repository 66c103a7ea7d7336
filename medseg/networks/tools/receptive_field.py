"""Receptive fields, by following rows of pixels through the operations of one forward pass on `meta`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.networks.contract import Network

_PERIOD = 64
"""Poolings repeat their phase after this many pixels in every network here."""

_LARGEST = 4096
"""Fields that do not fit in this many pixels count as the whole image."""

_NOWHERE = 2**40
"""First row seen by a row that sees nothing of the image, such as one of padding; its last is −1."""

_KEEP_ROWS = frozenset(
    {
        *("cat", "stack", "expand", "squeeze", "clone", "_to_copy"),
        *("_softmax", "_log_softmax", "log_sigmoid_forward", "logsumexp", "amax", "sum", "mean"),
        *("native_batch_norm", "native_group_norm", "native_layer_norm"),
    }
)
"""Operations, beside those value by value, after which a row has seen what the same rows of the inputs have.
They count so where they keep the number of rows; normalisation over the image is left out."""

_NORMS = frozenset({"native_batch_norm", "native_group_norm", "native_layer_norm"})

_CONSTANT = frozenset(
    {"new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like"}
)
"""Operations that take an input for its shape or type alone."""


@dataclass(frozen=True)
class ReceptiveField:
    """Side lengths in pixels that single outputs see, ascending, and the pixels between neighbouring outputs.

    There are several lengths where the phase of a pooling matters: U-Net's outputs see 188 or 204.
    """

    widths: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class Reach:
    """The pixels to each side that logits look at, at most; the same again every ``period`` px."""

    pixels: int
    period: int


def receptive_field(network: Network, layer: str = "") -> ReceptiveField | None:
    """Measure the field of the logits, or of the layer of this name (``named_modules``).

    None stands for the whole image. Every value that can have an influence counts: pooling sees its whole
    window, un-pooling hands on the whole window, normalisation is left out. An operation that is not known
    here counts as seeing all rows. The network is not changed, and no weight is read.
    """
    middle = _middle_rows(network, layer, network.size_from(_LARGEST))
    if middle is None:
        return None
    widths = np.unique(middle.last - middle.first + 1)
    return ReceptiveField(tuple(int(w) for w in widths), round(middle.step))


def reach(network: Network, side: int = 1024) -> Reach | None:
    """Measure how far logits look along either side; None where that may be the whole image of ``side`` px.

    A network that normalises over the image sees all of it, and one that resizes its input depends on the
    image's size. Rows stand for columns, too: the kernels of all networks of the table are square.
    """
    if tuple(network.scales) != (1.0,):
        return None
    if any(isinstance(module, _OVER_THE_IMAGE) for module in network.modules()):
        return None
    middle = _middle_rows(network, "", network.size_from(side))
    if middle is None or middle.step != 1:
        return None
    own = middle.start + network.border + np.arange(len(middle.first))
    before, after = own - middle.first, middle.last - own
    periods = (2**n for n in range(_PERIOD.bit_length()))
    period = next(
        (p for p in periods if all(np.array_equal(x[p:], x[: len(x) - p]) for x in (before, after))), _PERIOD
    )
    return Reach(int(max(before.max(), after.max())), period)


_OVER_THE_IMAGE = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


@dataclass(frozen=True)
class _Middle:
    """Rows around the middle of an output, from row ``start`` on: what each sees first and last."""

    first: Any
    last: Any
    step: Fraction
    start: int


@torch.inference_mode(mode=False)  # where operations do not reach the mode that follows them
def _middle_rows(network: Network, layer: str, side: int) -> _Middle | None:
    """Follow an image ``side`` px high; None if the rows in the middle see its upper or lower end."""
    # A batch of no image and weights that are one number: torch finds the shapes and computes nothing.
    x = torch.empty(0, network.in_channels, side, network.size_from(1))
    tensors = {
        name: torch.zeros((), dtype=torch.float32 if t.is_floating_point() else t.dtype).expand(t.shape)
        for name, t in [*network.named_parameters(), *network.named_buffers()]
    }
    outputs: list[Any] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[2]))
    try:
        with torch.no_grad(), _evaluating(network), _Follow(x) as follow:
            functional_call(network, tensors, (x,))
    finally:
        hook.remove()
    rows = follow.rows(tree_leaves(outputs[-1])[0])
    count = len(rows.first)
    phases = max(1, min(count, _PERIOD * count // side))
    start, stop = (count - phases) // 2, (count + phases) // 2
    first, last = rows.first[start:stop], rows.last[start:stop]
    if first.min() <= 0 or last.max() >= side - 1:
        return None
    return _Middle(first, last, rows.step, start)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass(frozen=True)
class _Rows:
    """The first and last row of the image that each row of a feature map has seen, and the rows between two.

    A feature map's rows are its last axis but one.
    """

    first: Any
    last: Any
    step: Fraction = Fraction(1)

    def gather(self, sources: Any, step: Fraction) -> _Rows:
        """Make rows (n) that have seen what their ``sources`` (n, taps) have, as far as these exist."""
        valid = (sources >= 0) & (sources < len(self.first))
        sources = np.where(valid, sources, 0)
        first = np.where(valid, self.first[sources], _NOWHERE).min(1)
        return _Rows(first, np.where(valid, self.last[sources], -1).max(1), step)

    def joined(self, other: _Rows) -> _Rows:
        """Make rows that have seen what both have; one row stands for all (broadcasting)."""
        step = self.step if len(self.first) > 1 else other.step
        return _Rows(np.minimum(self.first, other.first), np.maximum(self.last, other.last), step)

    def everywhere(self, count: int) -> _Rows:
        """Make as many rows that each have seen what all of these have."""
        return _Rows(np.full(count, self.first.min()), np.full(count, self.last.max()), self.step)


class _Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's mode has no hints
    """Follows the rows of an image (B, C, H, W) through every operation that is called under it."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        rows = np.arange(x.shape[-2])
        # The tensors are kept, so that no other gets the id of one that is gone; on meta they are empty.
        self._known: dict[int, tuple[Tensor, _Rows]] = {id(x): (x, _Rows(rows, rows))}
        self._unpooling: dict[int, tuple[Any, int]] = {}  # of pooled positions: sources of each row, stride

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler (one second) for what is never compiled."""
        return False

    def rows(self, tensor: Tensor) -> _Rows:
        """Look up what the rows of a tensor that depends on the image have seen."""
        return self._known[id(tensor)][1]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        schema = func._schema  # type: ignore[attr-defined]
        name = schema.name.removeprefix("aten::")
        result: Any
        if name == "convolution":
            result = _empty_convolution(*args)
        elif name in _NORMS:  # left out; torch refuses some of them a batch of no image
            result = torch.empty_like(args[0]), *torch.empty(2, 0)
        else:
            result = func(*args, **(kwargs or {}))
        inputs = [self.rows(t) for t in tree_leaves(args) if id(t) in self._known]
        if not inputs or name in _CONSTANT:
            return result
        values = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        values |= {**dict(zip((a.name for a in schema.arguments), args, strict=False)), **(kwargs or {})}
        outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        pointwise = torch.Tag.pointwise in func.tags  # type: ignore[attr-defined]
        rows = self._after(name, values, inputs, outputs[0], keeps=pointwise or name in _KEEP_ROWS)
        self._known |= {id(tensor): (tensor, rows) for tensor in outputs}
        if name == "max_pool2d_with_indices":
            kernel, stride, padding, _ = _window(values)
            sources = _spread(values["self"].shape[-2], kernel, stride, padding)
            self._unpooling[id(outputs[1])] = sources, stride
        elif name == "view" and id(values["self"]) in self._unpooling:
            self._unpooling[id(outputs[0])] = self._unpooling[id(values["self"])]
        return result

    def _after(
        self, name: str, values: Mapping[str, Any], inputs: list[_Rows], output: Tensor, *, keeps: bool
    ) -> _Rows:
        """Find the rows of an operation's output."""
        count = output.shape[-2] if output.ndim > 1 else 1
        if name == "scatter" and id(values["index"]) in self._unpooling and id(values["src"]) in self._known:
            sources, stride = self._unpooling[id(values["index"])]
            rows = self.rows(values["src"])
            return rows.gather(sources, rows.step / stride)
        if name in _SOURCES:
            sources, step = _SOURCES[name](_Call(values, len(inputs[0].first), count))
            return inputs[0].gather(sources, inputs[0].step * step)
        if name == "view":
            flattens = output.shape[-1] == math.prod(values["self"].shape[-2:])  # un-pooling restores it
            return inputs[0] if flattens or len(inputs[0].first) == count else inputs[0].everywhere(count)
        longest = max(len(rows.first) for rows in inputs)
        if any(len(rows.first) not in (1, longest) for rows in inputs):
            inputs, keeps = [rows.everywhere(1) for rows in inputs], False
        joined = reduce(_Rows.joined, inputs)
        return joined if keeps and len(joined.first) == count else joined.everywhere(count)


@dataclass(frozen=True)
class _Call:
    """An operation's arguments by name, and the numbers of rows before and after it."""

    values: Mapping[str, Any]
    inputs: int
    outputs: int


def _empty_convolution(x: Tensor, weight: Tensor, _bias: Tensor | None, *options: Any) -> Tensor:
    """Convolve no images, with one channel: torch would write out all of the weights."""
    *geometry, groups = options
    single = torch.ops.aten.convolution(x[:, :1], weight[:1, :1], None, *geometry, 1)
    transposed = geometry[3]
    return x.new_empty(0, weight.shape[1] * groups if transposed else weight.shape[0], *single.shape[2:])


def _convolution(call: _Call) -> tuple[Any, Fraction]:
    kernel = call.values["weight"].shape[-2]
    stride, padding, dilation = (_of_rows(call.values[key]) for key in ("stride", "padding", "dilation"))
    if call.values["transposed"]:
        return _spread(call.outputs, kernel, stride, padding, dilation), Fraction(1, stride)
    return _slid(call.outputs, kernel, stride, padding, dilation), Fraction(stride)


def _pooling(call: _Call) -> tuple[Any, Fraction]:
    _, stride, _, _ = window = _window(call.values)
    return _slid(call.outputs, *window), Fraction(stride)


def _adaptive(call: _Call) -> tuple[Any, Fraction]:
    """List the rows of bins from ⌊i · n / m⌋ up to, without it, ⌈(i + 1) · n / m⌉."""
    bins = np.arange(call.outputs)
    start, end = bins * call.inputs // call.outputs, -((bins + 1) * call.inputs // -call.outputs)
    return np.minimum(start[:, None] + np.arange((end - start).max()), end[:, None] - 1), Fraction(
        call.inputs, call.outputs
    )


def _bilinear(call: _Call) -> tuple[Any, Fraction]:
    rows = np.arange(call.outputs)
    if call.values["align_corners"]:
        place = rows * ((call.inputs - 1) / max(1, call.outputs - 1))
    else:
        place = np.maximum(
            0.0, (rows + 0.5) / (call.values.get("scales_h") or call.outputs / call.inputs) - 0.5
        )
    above = np.minimum(np.floor(place).astype(int), call.inputs - 1)
    below = np.minimum(above + (place > above), call.inputs - 1)  # no weight where the place is a row's own
    return np.stack([above, below], 1), Fraction(call.inputs, call.outputs)


def _nearest(call: _Call) -> tuple[Any, Fraction]:
    place = np.arange(call.outputs) / (call.values.get("scales_h") or call.outputs / call.inputs)
    return np.minimum(np.floor(place).astype(int), call.inputs - 1)[:, None], Fraction(
        call.inputs, call.outputs
    )


def _cut(call: _Call) -> tuple[Any, Fraction]:
    of_rows = call.values["dim"] % call.values["self"].ndim == call.values["self"].ndim - 2
    taken = slice(call.values["start"], call.values["end"], call.values["step"]) if of_rows else slice(None)
    return np.arange(call.inputs)[taken, None], Fraction(call.values["step"] if of_rows else 1)


def _strewn(call: _Call) -> tuple[Any, Fraction]:
    """List the rows put into others that hold no part of the image, from the first on, a step apart."""
    of_rows = call.values["dim"] % call.values["src"].ndim == call.values["src"].ndim - 2
    step = call.values["step"] if of_rows else 1
    return _spread(call.outputs, 1, step, 0), Fraction(1, step)


def _shuffled(call: _Call) -> tuple[Any, Fraction]:
    factor = call.values["upscale_factor"]
    return np.arange(call.outputs)[:, None] // factor, Fraction(1, factor)


def _padded(call: _Call) -> tuple[Any, Fraction]:
    top = call.values["pad"][2] if len(call.values["pad"]) > 2 else 0
    return np.arange(-top, call.outputs - top)[:, None], Fraction(1)


_SOURCES: dict[str, Callable[[_Call], tuple[Any, Fraction]]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pooling,
    "avg_pool2d": _pooling,
    "avg_pool3d": _pooling,
    "_adaptive_avg_pool2d": _adaptive,
    "upsample_bilinear2d": _bilinear,
    "upsample_nearest2d": _nearest,
    "pixel_shuffle": _shuffled,
    "slice": _cut,
    "slice_scatter": _strewn,
    "constant_pad_nd": _padded,
}
"""Of operations that move rows: (arguments, rows before, rows after) -> the rows (after, taps) that each row
comes from, and how many rows before lie between two after. What lies outside is padding."""


def _slid(outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Any:
    """List the rows (outputs, kernel) under a window that slides."""
    return np.arange(outputs)[:, None] * stride - padding + np.arange(kernel) * dilation


def _spread(outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Any:
    """List the rows (outputs, kernel) whose window holds each output, −1 for none: :func:`_slid` reversed."""
    reached = np.arange(outputs)[:, None] + padding - np.arange(kernel) * dilation
    return np.where(reached % stride == 0, reached // stride, -1)


def _window(values: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Read kernel, stride, padding and dilation of a pooling along its rows."""
    kernel = _of_rows(values["kernel_size"])
    stride = _of_rows(values["stride"]) if values["stride"] else kernel
    return kernel, stride, _of_rows(values["padding"]), _of_rows(values.get("dilation", 1))


def _of_rows(value: int | Sequence[int]) -> int:
    """Take the entry of the last axis but one; a single number stands for all axes."""
    if isinstance(value, int):
        return value
    return value[-2] if len(value) > 1 else value[0]
