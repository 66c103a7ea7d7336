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
from medseg.networks.backbones import PUBLISHED_WIDTH, BackboneName, BackboneWidth, make_contracting_path
from medseg.networks.blocks import Down, convs, halver
from medseg.networks.contract import Count, Network, he_
from medseg.networks.upsample import Way, doubler, enlarged

Depth = Annotated[int, Field(ge=1, le=6)]


class UNetPlusPlus(Network):
    """Nested U-Nets: node X(i, j) at level i takes X(i, 0..j−1) and the enlarged X(i+1, j−1) (eq. 1).

    The paper's form is ``batch_norm=False``: 9,041,601 parameters from 1 channel to 1 class with one head.
    Under deep supervision X(0, 1..depth) each have a 1×1 head, and training returns them all, the shallowest
    first.

    With a backbone, X(0, 0) stays two convolutions at full size; X(1..depth, 0) are the backbone's levels.

    :param width: channels of the top level; each level doubles them.
    :param depth: halvings of the size; 4 by default, with a backbone 5, all of its levels.
    :param mode: what evaluation returns under deep supervision: ``accurate`` the logarithm of the heads' mean
        probability, ``fast`` one head.
    :param branch: that head, 1 to ``depth``; the deepest by default. What only deeper heads need is not
        computed.
    :param sigmoid: classes overlap, so that a head's probabilities are sigmoids and not a soft-max; always so
        for a single class.
    :param down: ``pool``, or ``conv`` for learned 2×2 convolutions at stride 2.
    :param up: way in which features are enlarged (:mod:`medseg.networks.upsample`); ``unpool`` puts them to
        where X(i, 0) has its maxima.
    :param backbone: a classifier's body in place of X(1..depth, 0).
    :param backbone_width: its channels; 64 stands for the published ones.
    """

    paper = "Zhou, Siddiquee, Tajbakhsh, Liang 2018"

    def __init__(  # noqa: PLR0913  # a recipe's keywords
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 32,
        depth: Depth | None = None,
        batch_norm: bool = True,
        deep_supervision: bool = True,
        mode: Literal["accurate", "fast"] = "accurate",
        branch: Count | None = None,
        sigmoid: bool = False,
        down: Down = "pool",
        up: Way = "transposed",
        backbone: BackboneName | None = None,
        backbone_width: BackboneWidth = PUBLISHED_WIDTH,
    ) -> None:
        super().__init__(in_channels, classes)
        depth = depth or (5 if backbone else 4)
        self.size_divisor = 2**depth
        self.depth = depth
        self.mode = mode
        self.branch = branch or depth
        if branch is not None and (branch > depth or mode != "fast" or not deep_supervision):
            details = (
                f"branch={branch} with depth={depth}, mode={mode!r}, deep_supervision={deep_supervision}"
            )
            how_to_fix = f"set mode: fast, deep_supervision: true and a branch from 1 to {depth}"
            raise MedsegError(Code.KEYWORD_INVALID, "unetpp", details, how_to_fix)
        self.sigmoid = sigmoid or classes == 1
        w = [width * 2**level for level in range(depth + 1)]
        c = w  # channels of X(i, 0)
        self.backbone = None
        if backbone is not None and down != "pool":
            details, how_to_fix = f"down={down!r} with a backbone", "leave out one of them"
            raise MedsegError(Code.KEYWORD_INVALID, "unetpp", details, how_to_fix)
        if backbone is not None:
            self.backbone = make_contracting_path(backbone, in_channels, width=backbone_width, levels=depth)
            c = [width, *self.backbone.widths]
        above = c if up == "unpool" else w  # channels of the enlarged features
        self.downs = nn.ModuleList(halver(down, level, batch_norm=batch_norm) for level in w[:depth])
        self.nodes = nn.ModuleDict()
        self.ups = nn.ModuleDict()
        for j in range(depth + 1):
            for i in range(depth + 1 - j):
                if i and not j and backbone:
                    continue
                inputs = c[i] + (j - 1) * w[i] + above[i] if j else w[i - 1] if i else in_channels
                self.nodes[f"{i}_{j}"] = convs(inputs, w[i], w[i], batch_norm=batch_norm)
                if j:
                    below = w[i + 1] if j > 1 else c[i + 1]
                    self.ups[f"{i}_{j}"] = doubler(up, below, above[i])
        supervised = range(1 if deep_supervision else depth, depth + 1)
        self.heads = nn.ModuleDict({str(j): nn.Conv2d(width, classes, 1) for j in supervised})
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); in training with several heads a list of them."""
        self.require(x)
        all_heads = len(self.heads) > 1 and (self.training or self.mode == "accurate")
        level = self.depth if all_heads else self.branch
        nodes = {(0, 0): self.nodes["0_0"](x)}
        if self.backbone is not None:
            nodes |= {(i, 0): level for i, level in enumerate(self.backbone(x), 1)}
        for j in range(level + 1):
            for i in range(level + 1 - j):
                if (i, j) not in nodes:
                    inputs = self._joined(nodes, i, j) if j else self.downs[i - 1](nodes[i - 1, 0])
                    nodes[i, j] = self.nodes[f"{i}_{j}"](inputs)  # (B, width · 2^i, H / 2^i, W / 2^i)
        if all_heads:
            logits = [head(nodes[0, int(j)]) for j, head in self.heads.items()]
            return logits if self.training else log_mean(logits, sigmoid=self.sigmoid)
        return self.heads[str(level)](nodes[0, level])  # type: ignore[no-any-return]

    def pruned(self, level: int) -> Self:
        """Copy the network without the nodes that head ``level`` does not need (pruning, Figure 3c).

        The copy gives what that head gives. Its keywords are ``depth=level``, ``deep_supervision=False`` and
        the rest as they were.
        """
        if str(level) not in self.heads:
            details, how_to_fix = f"there is no head {level}", f"use one of {', '.join(self.heads)}"
            raise MedsegError(Code.KEYWORD_INVALID, "pruned", details, how_to_fix)
        small = copy.deepcopy(self)
        small.depth, small.branch, small.size_divisor = level, level, 2**level
        for nodes in (small.nodes, small.ups):
            for key in [key for key in nodes if sum(map(int, key.split("_"))) > level]:
                del nodes[key]
        if small.backbone is not None:
            small.backbone.cut(level)
        small.downs = small.downs[:level]
        small.heads = nn.ModuleDict({str(level): small.heads[str(level)]})
        return small

    def _joined(self, nodes: dict[tuple[int, int], Tensor], i: int, j: int) -> Tensor:
        """Concatenate the input of X(i, j), j > 0: X(i, 0..j−1) and the enlarged X(i + 1, j − 1)."""
        above = enlarged(self.ups[f"{i}_{j}"], nodes[i + 1, j - 1], nodes[i, 0])
        return torch.cat([*(nodes[i, k] for k in range(j)), above], 1)


def log_mean(logits: list[Tensor], *, sigmoid: bool) -> Tensor:
    """Compute logits (B, K, H, W) of the mean probability of several heads, given by logits of that shape."""
    stacked = torch.stack(logits)
    if not sigmoid:
        return torch.logsumexp(F.log_softmax(stacked, 2), 0) - math.log(len(logits))
    return torch.logsumexp(F.logsigmoid(stacked), 0) - torch.logsumexp(F.logsigmoid(-stacked), 0)
