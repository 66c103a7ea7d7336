"""Whole slices in tiles that overlap by what the network looks at.

The logits are those of the whole slice, in less memory.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.predictor import Predictor, Spec
from medseg.networks.tools.receptive_field import Reach


def margin(reach: Reach) -> int:
    """Pixels that a tile's input has around its output: the reach, up to a multiple of its period."""
    return -(-reach.pixels // reach.period) * reach.period


def smallest(reach: Reach, spec: Spec) -> int | None:
    """The smallest side (px) of a tile's input; None for a network that takes no tiles of slices."""
    if spec.border or spec.size_remainder or reach.period % spec.size_divisor:
        return None
    side = 2 * margin(reach) + reach.period
    return max(side, -(-spec.min_size // reach.period) * reach.period)


@dataclass(frozen=True, eq=False)
class SliceTiles:
    """A predictor that sees no more than ``side`` × ``side`` px of a slab at once.

    ``side`` is a multiple of the reach's period and at least :func:`smallest`. Each output pixel is computed
    from an input that holds all that it looks at, so that the logits are those of the whole slab, but for
    rounding.
    """

    predictor: Predictor
    reach: Reach
    side: int

    @property
    def spec(self) -> Spec:
        """The form of the predictor's input and output."""
        return self.predictor.spec

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H, W) float32, on the predictor's device."""
        height, width = batch.shape[2:]
        if max(height, width) <= self.side:
            return self.predictor(batch)
        result: Tensor | None = None
        for (rows, seen_rows), (columns, seen_columns) in itertools.product(
            self._parts(height), self._parts(width)
        ):
            logits = self.predictor(batch[:, :, seen_rows, seen_columns].contiguous())
            if result is None:
                result = torch.empty(len(batch), logits.shape[1], height, width, device=logits.device)
            top, left = rows.start - seen_rows.start, columns.start - seen_columns.start
            of_tile = logits[
                :, :, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start
            ]
            result[:, :, rows, columns] = of_tile
        if result is None:
            raise ValueError(f"a slab without pixels: {tuple(batch.shape)}")
        return result

    def _parts(self, size: int) -> list[tuple[slice, slice]]:
        """The outputs of the tiles along an axis, each with what its input sees."""
        if size <= self.side:
            return [(slice(0, size), slice(0, size))]
        around = margin(self.reach)
        core = self.side - 2 * around
        return [
            (
                slice(start, min(start + core, size)),
                slice(max(0, start - around), min(start + core + around, size)),
            )
            for start in range(0, size, core)
        ]


def tiled(
    predictor: Predictor | MultiPlaneEnsemble, reach: Reach, side: int
) -> Predictor | MultiPlaneEnsemble:
    """The predictor, of each plane, in tiles of slices."""
    if isinstance(predictor, MultiPlaneEnsemble):
        of_planes = tuple(SliceTiles(one, reach, side) for one in predictor.predictors)
        return MultiPlaneEnsemble(of_planes, predictor.ensemble)
    return SliceTiles(predictor, reach, side)
