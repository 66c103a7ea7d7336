"""Backbones that are layers in a row: strides and channels are found by a trial, strides become rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from medseg.errors import Code, MedsegError
from medseg.networks.backbones.rates import LayerCalls, strides_to_rates
from medseg.networks.contract import Backbone

STRIDES = (2, 4, 8, 16, 32)
"""Image size over feature size, for each of a backbone's levels."""

TRIAL_SIDE = 128
"""Height and width (px) of the image on which strides and channels are found."""


class StagedBackbone(Backbone):
    """A backbone that runs its ``steps`` one after the other.

    A subclass creates its layers and calls :meth:`find_levels`. The last step at each stride gives a level.
    """

    steps: list[str]
    ends: list[str]
    needs_image: ClassVar[bool] = False
    """True where the layers cannot take a batch of no image, as windows of attention cannot."""

    def find_levels(self, name: str, steps: Sequence[str], in_channels: int, output_stride: int) -> None:
        """Find each stride's last step and its channels; give layers rates where strides are to stay smaller.

        Layers are run on ``meta``, where nothing is computed.

        :param name: the backbone's name, for messages.
        :param steps: names of submodules, in the order in which they run.
        :param output_stride: image size over the size of the last features.
        :raises MedsegError: ``KEYWORD_INVALID`` if the strides of this body cannot become rates.
        """
        self.steps, self.ends, self.widths = list(steps), list(steps), []
        with LayerCalls(self) as calls:
            outputs = self._trial(in_channels)
        last = {TRIAL_SIDE // x.shape[2]: (step, x.shape[1]) for step, x in zip(steps, outputs, strict=True)}
        self.ends = [last[stride][0] for stride in STRIDES if stride in last]
        self.widths = [last[stride][1] if stride in last else 0 for stride in STRIDES]
        if output_stride == STRIDES[-1]:
            return
        strides_to_rates(self, calls, output_stride)
        strides = [TRIAL_SIDE // level.shape[2] for level in self._trial(in_channels)]
        if strides != [min(stride, output_stride) for stride in STRIDES]:
            raise rates_refused(name, output_stride, natural=STRIDES[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> levels (B, widths[i], H / stride, W / stride)."""
        levels: list[Tensor] = []
        if self.widths and not self.widths[0]:
            levels.append(x.new_empty(x.shape[0], 0, x.shape[2] // 2, x.shape[3] // 2))
        for step in self.steps:
            x = self.get_submodule(step)(x)
            if step in self.ends:
                levels.append(self.as_level(x))
        return levels

    def as_level(self, x: Tensor) -> Tensor:
        """Give a step's output the form of a level, (B, widths[i], H / stride, W / stride)."""
        return x

    def cut(self, levels: int) -> None:
        """Remove, in place, the layers that the first ``levels`` levels do not need."""
        missing = self.widths.count(0)
        last = self.steps.index(self.ends[levels - 1 - missing])
        for step in self.steps[last + 1 :]:
            parent, _, child = step.rpartition(".")
            delattr(self.get_submodule(parent), child)
        self.steps, self.ends = self.steps[: last + 1], self.ends[: levels - missing]
        self.widths = self.widths[:levels]

    def _trial(self, in_channels: int) -> list[Tensor]:
        """Levels of no image at all: shapes without arithmetic, nor the compiler that ``meta`` loads."""
        count, device = (1, "meta") if self.needs_image else (0, "cpu")
        image = torch.empty(count, in_channels, TRIAL_SIDE, TRIAL_SIDE, device=device)
        tensors = [*self.named_parameters(), *self.named_buffers()]
        untouched = {name: torch.empty_like(t, device=device) for name, t in tensors}
        with torch.no_grad(), _NormsSkipped():
            return functional_call(self, untouched, (image,))  # type: ignore[no-any-return]


class _NormsSkipped(TorchFunctionMode):
    """Leave out batch normalisation, which changes no shape and refuses a batch of nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is functional.batch_norm else func(*args, **(kwargs or {}))


def rates_refused(name: str, output_stride: int, *, natural: int) -> MedsegError:
    """Say that a body cannot have features at ``output_stride``."""
    details = f"the features of {name} have stride {natural} and cannot have stride {output_stride}"
    how_to_fix = f"write output_stride: {natural} where the network has this keyword, or use another backbone"
    return MedsegError(Code.KEYWORD_INVALID, "backbone", details, how_to_fix)
