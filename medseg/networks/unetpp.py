"""UNet++ (Zhou, Siddiquee, Tajbakhsh, Liang 2018): a U-Net of every depth, nested, each with its head."""

from __future__ import annotations

import copy
import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.networks.blocks import convs
from medseg.networks.contract import Count, Network, he_

Depth = Annotated[int, Field(ge=1, le=6)]


class UNetPlusPlus(Network):
    """Nested U-Nets: node X(i, j) at level i takes X(i, 0..j−1) and the enlarged X(i+1, j−1) (eq. 1).

    The paper's form is ``batch_norm=False``: 9,041,601 parameters from 1 channel to 1 class with one head.
    Under deep supervision X(0, 1..depth) each have a 1×1 head, and training returns them all, the shallowest
    first.

    :param width: channels of the top level; each level doubles them.
    :param depth: poolings.
    :param mode: what evaluation returns under deep supervision: ``accurate`` the logarithm of the heads' mean
        probability, ``fast`` the deepest head.
    :param sigmoid: classes overlap, so that a head's probabilities are sigmoids and not a soft-max; always so
        for a single class.
    """

    paper = "Zhou, Siddiquee, Tajbakhsh, Liang 2018"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 32,
        depth: Depth = 4,
        batch_norm: bool = True,
        deep_supervision: bool = True,
        mode: Literal["accurate", "fast"] = "accurate",
        sigmoid: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        self.size_divisor = 2**depth
        self.depth = depth
        self.mode = mode
        self.sigmoid = sigmoid or classes == 1
        w = [width * 2**level for level in range(depth + 1)]
        self.pool = nn.MaxPool2d(2)
        self.nodes = nn.ModuleDict()
        self.ups = nn.ModuleDict()
        for j in range(depth + 1):
            for i in range(depth + 1 - j):
                inputs = (j + 1) * w[i] if j else w[i - 1] if i else in_channels
                self.nodes[f"{i}_{j}"] = convs(inputs, w[i], w[i], batch_norm=batch_norm)
                if j:
                    self.ups[f"{i}_{j}"] = nn.ConvTranspose2d(w[i + 1], w[i], 2, stride=2)
        supervised = range(1 if deep_supervision else depth, depth + 1)
        self.heads = nn.ModuleDict({str(j): nn.Conv2d(width, classes, 1) for j in supervised})
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); in training with several heads a list of them."""
        self.require(x)
        nodes: dict[tuple[int, int], Tensor] = {}
        for j in range(self.depth + 1):
            for i in range(self.depth + 1 - j):
                inputs = self._joined(nodes, i, j) if j else self.pool(nodes[i - 1, 0]) if i else x
                nodes[i, j] = self.nodes[f"{i}_{j}"](inputs)  # (B, width · 2^i, H / 2^i, W / 2^i)
        if len(self.heads) > 1 and (self.training or self.mode == "accurate"):
            logits = [head(nodes[0, int(j)]) for j, head in self.heads.items()]
            return logits if self.training else log_mean(logits, sigmoid=self.sigmoid)
        return self.heads[str(self.depth)](nodes[0, self.depth])  # type: ignore[no-any-return]

    def pruned(self, level: int) -> Self:
        """Copy the network without the nodes that head ``level`` does not need (pruning, Figure 3c).

        The copy gives what that head gives. Its keywords are ``depth=level``, ``deep_supervision=False`` and
        the rest as they were.
        """
        if str(level) not in self.heads:
            details, how_to_fix = f"there is no head {level}", f"use one of {', '.join(self.heads)}"
            raise MedsegError(Code.KEYWORD_INVALID, "pruned", details, how_to_fix)
        small = copy.deepcopy(self)
        small.depth, small.size_divisor = level, 2**level
        for nodes in (small.nodes, small.ups):
            for key in [key for key in nodes if sum(map(int, key.split("_"))) > level]:
                del nodes[key]
        small.heads = nn.ModuleDict({str(level): small.heads[str(level)]})
        return small

    def _joined(self, nodes: dict[tuple[int, int], Tensor], i: int, j: int) -> Tensor:
        """Concatenate the input of X(i, j), j > 0: (j + 1) · width · 2^i channels."""
        enlarged = self.ups[f"{i}_{j}"](nodes[i + 1, j - 1])
        return torch.cat([*(nodes[i, k] for k in range(j)), enlarged], 1)


def log_mean(logits: list[Tensor], *, sigmoid: bool) -> Tensor:
    """Compute logits (B, K, H, W) of the mean probability of several heads, given by logits of that shape."""
    stacked = torch.stack(logits)
    if not sigmoid:
        return torch.logsumexp(F.log_softmax(stacked, 2), 0) - math.log(len(logits))
    return torch.logsumexp(F.logsigmoid(stacked), 0) - torch.logsumexp(F.logsigmoid(-stacked), 0)
