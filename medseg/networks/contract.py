"""The contract that every network keeps, and the initialisation they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field
from torch import Tensor, nn

from medseg.errors import Code, MedsegError

Count = Annotated[int, Field(ge=1)]
"""A number of channels, classes, levels or layers."""

Share = Annotated[float, Field(ge=0, lt=1)]
"""A probability below one."""


HeadWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Weight of an auxiliary head's loss in training; without one at 0."""


class Sides(Protocol):
    """Side lengths that a network takes; see :class:`Network`."""

    @property
    def size_divisor(self) -> int:
        """Divisor by which sides leave ``size_remainder``."""

    @property
    def size_remainder(self) -> int:
        """Remainder of each side by ``size_divisor``."""

    @property
    def border(self) -> int:
        """Pixels that the output lacks on each side."""

    @property
    def min_size(self) -> int:
        """Shortest side that the deepest level can take."""


def side_from(size: int, sides: Sides) -> int:
    """Find the smallest side length (px) from ``size`` upwards that a network of these ``sides`` takes."""
    size = max(size, sides.min_size, 2 * sides.border + 1)
    return size + (sides.size_remainder - size) % sides.size_divisor


class SideRule(NamedTuple):
    """The sides that a network takes, without the network: it can be pickled for a few bytes."""

    size_divisor: int
    size_remainder: int
    border: int
    min_size: int

    @classmethod
    def of(cls, sides: Sides) -> SideRule:
        """Take over those of a network."""
        return cls(sides.size_divisor, sides.size_remainder, sides.border, sides.min_size)

    def size_from(self, size: int) -> int:
        """Find the smallest side length (px) from ``size`` upwards that the network takes."""
        return side_from(size, self)


class Network(nn.Module):
    """Base of all networks: ``(B, C, H, W)`` float -> logits ``(B, K, H', W')`` float.

    In training a network under deep supervision returns a list of such logits, one per head; the loss is
    their mean, or with ``head_weights`` their weighted sum. H and W are
    equal to ``size_remainder`` modulo ``size_divisor``; H' = H − 2 · ``border``, and likewise W'. With the
    same padding everywhere ``border`` and ``size_remainder`` are zero: H and W are multiples of
    ``size_divisor``, and H' = H.

    ``min_size`` is the shortest side that the deepest level can take, ``paper`` names who published the
    network. ``scales`` are the sizes, relative to the input's, at which the network looks at it; they are
    rounded to pixels, so that logits at other scales than 1 depend on the input's size.
    """

    size_divisor: int = 1
    size_remainder: int = 0
    border: int = 0
    min_size: int = 1
    paper: str = ""
    head_weights: tuple[float, ...] = ()
    scales: Sequence[float] = (1.0,)

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.classes = classes

    def size_from(self, size: int) -> int:
        """Find the smallest side length (px) from ``size`` upwards that the network takes."""
        return side_from(size, self)

    def require(self, x: Tensor) -> None:
        """Raise ``SIZE_IMPOSSIBLE``, with the size to use, unless the network can take ``x`` (B, C, H, W)."""
        where = type(self).__name__
        channels, height, width = x.shape[1:]
        if channels != self.in_channels:
            details = f"the input has {channels} channels, the network takes {self.in_channels}"
            how_to_fix = f"give {self.in_channels} channels (channels · slab depth)"
            raise MedsegError(Code.SIZE_IMPOSSIBLE, where, details, how_to_fix)
        fitting = self.size_from(height), self.size_from(width)
        if fitting != (height, width):
            rule = (
                f"a multiple of {self.size_divisor}"
                if not self.size_remainder
                else f"{self.size_remainder} modulo {self.size_divisor}"
            )
            details = (
                f"the input is {height}×{width} px; each side must be {rule}, at least {self.size_from(1)}"
            )
            raise MedsegError(Code.SIZE_IMPOSSIBLE, where, details, f"pad it to {fitting[0]}×{fitting[1]}")

    def pretrained_key_map(self) -> dict[str, str]:
        """Map names of own tensors to the names of the published weights that may fill them.

        By default the tensors of the attribute ``backbone``, where there is one.
        """
        backbone = getattr(self, "backbone", None)
        return backbone.pretrained_key_map("backbone") if isinstance(backbone, Backbone) else {}


class Backbone(nn.Module):
    """A classifier up to its features: ``(B, C, H, W)`` -> one level at each stride of 2, 4, 8, 16 and 32.

    With a smaller output stride the last levels keep that stride, and their convolutions have rates instead.
    ``widths`` are the levels' channels; 0 where a classifier has no features at stride 2.
    """

    widths: list[int]

    def cut(self, levels: int) -> None:
        """Remove, in place, the layers that the first ``levels`` levels do not need."""
        raise NotImplementedError

    def pretrained_key_map(self, prefix: str) -> dict[str, str]:
        """Map names of own tensors under ``prefix`` to the published ones; here they are the same."""
        return {f"{prefix}.{name}": name for name in self.state_dict() if not name.endswith("tracked")}


def he_(module: nn.Module) -> None:
    """Initialise one layer in place: N(0, √(2 / fan-in)), biases 0 (He et al. 2015, eq. 10).

    For ``Module.apply``. The fan-in is the number of values that one output pixel sums: k² · C for a
    convolution, k² / stride² · C for a transposed one.
    """
    if not (type(module) is nn.Conv2d or type(module) is nn.ConvTranspose2d):
        return
    if module.weight.is_meta:  # nothing to draw, and torch would import its compiler for it (one second)
        return
    fan_in = math.prod(module.kernel_size) * module.in_channels / module.groups
    if isinstance(module, nn.ConvTranspose2d):
        fan_in /= math.prod(module.stride)
    nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
    if module.bias is not None:
        nn.init.zeros_(module.bias)
