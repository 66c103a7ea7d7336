"""Empty space is not computed: inputs of one value, and what lies far from everything else in a slice.

Where a volume's lowest value is its background, many windows, and the margins of most slices, hold nothing
else. A network gives the same logits for every input of that value alone, so one is computed and stands for
all. Within whole slices its receptive field says how far a logit looks: what sees the background alone is as
in an empty slice, and the rest is computed from a box around the foreground that is wide enough for it. Both
are exact. With a `margin` the box is narrower than the receptive field asks for, and the result may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import Inferer, WholeSlice
from medseg.infer.predictor import Predictor, Spec
from medseg.networks.tools.receptive_field import Reach
from medseg.patches.slabs import slices
from medseg.preprocess.intensity import NormalizedVolume
from medseg.transfer import upload

MARGIN = 24
"""Pixels around the foreground that are computed when speed is asked for."""

_FEWEST_SLICES = 8
"""Boxes cost the logits of one empty slice, and are left out for volumes of fewer slices."""

_WORTH = 0.9
"""Share of a slice above which a box is not worth while."""

Box = tuple[slice, slice]
"""Rows and columns of a slice."""

_ALL: Box = (slice(None), slice(None))


@dataclass(frozen=True)
class BoxRule:
    """Boxes around foreground: ``input`` px are cut out on each side of it, ``output`` px of them are used.

    Boxes start and end on multiples of ``period``, where poolings see the same pixels together, or where the
    slice does.
    """

    input: int
    output: int
    period: int

    @classmethod
    def exact(cls, reach: Reach) -> BoxRule:
        """The box whose logits are those of the whole slice."""
        return cls(2 * reach.pixels, reach.pixels, reach.period)

    @classmethod
    def within(cls, margin: int, reach: Reach) -> BoxRule:
        """A box of a margin; the exact one where that is no wider."""
        return cls(margin, margin, reach.period) if margin < 2 * reach.pixels else cls.exact(reach)

    def cut(self, occupied: Tensor) -> tuple[slice, slice]:
        """The input box along one axis, and the part of the axis that its output is used for.

        ``occupied`` (N,) bool is true where there is foreground, somewhere at least.
        """
        where, size = occupied.nonzero(), len(occupied)
        first, last = int(where.min()), int(where.max()) + 1
        start = max(0, first - self.input) // self.period * self.period
        stop = min(size, -(-(last + self.input) // self.period) * self.period)
        return slice(start, stop), slice(max(start, first - self.output), min(stop, last + self.output))


def without_empty_space(
    predictor: Predictor | MultiPlaneEnsemble,
    volume: NormalizedVolume,
    inferer: Inferer,
    rule: Callable[[], BoxRule | None],
) -> Predictor | MultiPlaneEnsemble:
    """The predictor for one volume, which computes nothing for its background twice.

    ``rule`` gives the boxes in whole slices, None for whole slices alone; it is asked only for these.
    """
    lowest = volume.array.min(axis=(1, 2, 3))
    background = torch.from_numpy(volume.normalise(np.asarray(lowest)[:, None]))[:, 0]

    def of(one: Predictor) -> Predictor:
        of_slices = isinstance(inferer, WholeSlice) and one.spec.border == 0
        many = slices(volume.grid.shape, one.spec.plane) >= _FEWEST_SLICES
        boxes = rule() if of_slices and many else None
        return EmptySkipper(one, background.repeat_interleave(one.spec.depth), boxes)

    if isinstance(predictor, MultiPlaneEnsemble):
        return MultiPlaneEnsemble(tuple(map(of, predictor.predictors)), predictor.ensemble)
    return of(predictor)


class EmptySkipper:
    """A predictor that does not compute what is ``background`` (C·D,) float32; the logits are the same."""

    def __init__(self, predictor: Predictor, background: Tensor, rule: BoxRule | None) -> None:
        self.predictor, self._rule = predictor, rule
        self._background = background[:, None, None].to(predictor.spec.device)
        self._highest = float(background[0]) if bool((background == background[0]).all()) else None
        self._empty: dict[tuple[int, ...], Tensor] = {}

    @property
    def spec(self) -> Spec:
        """The form of the predictor's input and output."""
        return self.predictor.spec

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H', W') float32."""
        if self._rule is None:
            busy, cut, used = self._busy(batch), _ALL, _ALL
        else:
            busy, rows, columns = _occupied(batch, self._background)
            cut, used = self._boxes(self._rule, rows, columns) if busy.any() else (_ALL, _ALL)
        if busy.all() and cut == _ALL:
            return self.predictor(batch)
        result = self._of_empty(batch).repeat(len(batch), 1, 1, 1)
        if busy.any():
            chosen = upload(busy.nonzero()[:, 0], batch.device)
            logits = self.predictor(batch[(chosen, slice(None), *cut)])
            result[(chosen.to(result.device), slice(None), *used)] = logits[(..., *_relative(used, cut))]
        return result

    def _busy(self, batch: Tensor) -> Tensor:
        """Slabs (B,) bool in which anything is not background, on the host.

        The background is the lowest value: where all channels have the same, slabs of it alone have it as
        their highest, which takes a fiftieth of the time of comparing.
        """
        if self._highest is not None:
            return (batch.amax(dim=(1, 2, 3)) != self._highest).cpu()
        return (batch != self._background).any(dim=1).any(dim=2).any(dim=1).cpu()

    def _boxes(self, rule: BoxRule, rows: Tensor, columns: Tensor) -> tuple[Box, Box]:
        """The box around busy rows (H,) and columns (W,), and the part of its output to use; or all twice."""
        (cut_rows, used_rows), (cut_columns, used_columns) = map(rule.cut, (rows, columns))
        sides = [box.stop - box.start for box in (cut_rows, cut_columns)]
        is_possible = [self.spec.size_from(side) for side in sides] == sides
        if not is_possible or sides[0] * sides[1] > _WORTH * rows.numel() * columns.numel():
            return _ALL, _ALL
        return (cut_rows, cut_columns), (used_rows, used_columns)

    def _of_empty(self, batch: Tensor) -> Tensor:
        """Logits (1, K, H', W') of a slab of background as large as those of ``batch``."""
        shape = tuple(batch.shape[2:])
        if shape not in self._empty:
            slab = self._background.expand(1, -1, *shape).contiguous()
            self._empty = {shape: self.predictor(slab)}
        return self._empty[shape]


def _occupied(batch: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slabs (B,), rows (H,) and columns (W,) in which anything is not ``background``, on the host.

    They come in one copy: a GPU is waited for once.
    """
    if batch.device.type == "cpu":  # numpy does this in a tenth of torch's time
        occupied = (batch.numpy() != background.numpy()).any(axis=1)
        each = occupied.any(axis=(1, 2)), occupied.any(axis=(0, 2)), occupied.any(axis=(0, 1))
        slabs, rows, columns = map(torch.from_numpy, each)
        return slabs, rows, columns
    pixels = (batch != background).any(dim=1)
    along = [pixels.any(dim=2).any(dim=1), pixels.any(dim=0).any(dim=1), pixels.any(dim=0).any(dim=0)]
    slabs, rows, columns = torch.split(torch.cat(along).cpu(), [len(one) for one in along])
    return slabs, rows, columns


def _relative(used: Box, cut: Box) -> Box:
    """The place of the part that is used in the output of the box that was cut out."""
    if cut == _ALL:
        return _ALL
    rows, columns = (
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(used, cut, strict=True)
    )
    return rows, columns
