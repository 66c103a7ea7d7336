"""What every network promises, and the initialisation they share."""

from __future__ import annotations

import math
from typing import Annotated, Protocol

from pydantic import Field
from torch import Tensor, nn

from medseg.errors import Code, MedsegError

Count = Annotated[int, Field(ge=1)]
"""A number of channels, classes, levels or layers."""

Share = Annotated[float, Field(ge=0, lt=1)]
"""A probability below one."""


class Sides(Protocol):
    """What says which side lengths a network takes; see :class:`Network`."""

    @property
    def step(self) -> int:
        """Sides are equal to the residue modulo this."""

    @property
    def residue(self) -> int:
        """What is left of a side by the step."""

    @property
    def context(self) -> int:
        """Pixels that the output lacks on each side."""

    @property
    def smallest(self) -> int:
        """A side that deeper levels still need."""


def side_from(size: int, sides: Sides) -> int:
    """The smallest side length (px) from ``size`` upwards that a network of these ``sides`` takes."""
    size = max(size, sides.smallest, 2 * sides.context + 1)
    return size + (sides.residue - size) % sides.step


class Network(nn.Module):
    """Base of all networks: ``(B, C, H, W)`` float -> logits ``(B, K, H', W')`` float.

    In training a network under deep supervision returns a list of such logits, one a head. H and W are equal
    to ``residue`` modulo ``step``; H' = H − 2 · ``context``, and likewise W'. With the same padding
    everywhere ``context`` and ``residue`` are zero: H and W are multiples of ``step``, and H' = H.

    ``smallest`` is a side that deeper levels still need, ``paper`` who published the network.
    """

    step: int = 1
    residue: int = 0
    context: int = 0
    smallest: int = 1
    paper: str = ""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.classes = classes

    def size_from(self, size: int) -> int:
        """The smallest side length (px) from ``size`` upwards that the network takes."""
        return side_from(size, self)

    def require(self, x: Tensor) -> None:
        """Raise ``SIZE_IMPOSSIBLE``, with the size to use, unless the network can take ``x`` (B, C, H, W)."""
        where = type(self).__name__
        channels, height, width = x.shape[1:]
        if channels != self.in_channels:
            found = f"the input has {channels} channels, the network takes {self.in_channels}"
            remedy = f"give {self.in_channels} channels (channels · slab depth)"
            raise MedsegError(Code.SIZE_IMPOSSIBLE, where, found, remedy)
        fitting = self.size_from(height), self.size_from(width)
        if fitting != (height, width):
            rule = f"a multiple of {self.step}" if not self.residue else f"{self.residue} modulo {self.step}"
            found = (
                f"the input is {height}×{width} px; each side must be {rule}, at least {self.size_from(1)}"
            )
            raise MedsegError(Code.SIZE_IMPOSSIBLE, where, found, f"pad it to {fitting[0]}×{fitting[1]}")

    def published_names(self) -> dict[str, str]:
        """Names of own tensors -> torchvision's names of the published weights that may fill them."""
        return {}


class Body(nn.Module):
    """A classifier up to its features: ``(B, C, H, W)`` -> a level each at strides 2, 4, 8, 16 and 32.

    With a smaller output stride the last levels keep that stride, and their convolutions have rates instead.
    ``widths`` are the levels' channels.
    """

    widths: list[int]

    def published_names(self, prefix: str) -> dict[str, str]:
        """Names of own tensors under ``prefix`` -> torchvision's names; here the same."""
        return {f"{prefix}.{name}": name for name in self.state_dict() if not name.endswith("tracked")}


def he_(module: nn.Module) -> None:
    """Initialise one layer in place as He et al.: N(0, √(2 / fan-in)), biases 0; for ``Module.apply``.

    The fan-in is the number of values that one output pixel sums: k² · C for a convolution, k² / stride² · C
    for a transposed one.
    """
    if not (type(module) is nn.Conv2d or type(module) is nn.ConvTranspose2d):
        return
    fan_in = math.prod(module.kernel_size) * module.in_channels / module.groups
    if isinstance(module, nn.ConvTranspose2d):
        fan_in /= math.prod(module.stride)
    nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
    if module.bias is not None:
        nn.init.zeros_(module.bias)
