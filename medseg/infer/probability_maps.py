"""Class probabilities of a volume in steps of 1/255, such that they agree with its label map.

Of classes that share each voxel out, a voxel's steps sum to 255 and its label has most of them: the arg-max
of the stored values, ties to the lowest index, is the label map again. Of masks that may overlap, a stored
value is above the mask's threshold exactly where the mask is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.grid import Array, Plane
from medseg.infer.decide import highest
from medseg.infer.scratch import on_disk
from medseg.io.nifti_writer import FULL_STEPS, SHARE_STEP
from medseg.patches.slabs import plane_view
from medseg.preprocess.geometry import Record


def steps_of_classes(shares: Tensor, labels: Tensor) -> Tensor:
    """Shares (K, …) of classes and the label of their highest (…) uint8 → steps (K, …) uint8 that sum to 255.

    Each share is rounded down, and the steps that are left go to the largest remainders, so that an error is
    below one step. That keeps the order of the shares but for ties, of which the label is to have most: where
    it has not, it changes places with the class that has, and where it is not alone it takes one step from
    the first. An error is then below two steps.
    """
    scaled = shares / shares.sum(dim=0) * FULL_STEPS
    steps = scaled.floor()
    left = FULL_STEPS - steps.sum(dim=0)
    order = (scaled - steps).argsort(dim=0, descending=True, stable=True)
    rank = torch.arange(len(shares), device=shares.device).view(-1, *[1] * labels.dim())
    steps.scatter_add_(0, order, (rank < left).to(steps.dtype))
    chosen, most = labels.long()[None], highest(steps).long()[None]
    of_chosen, of_most = steps.gather(0, chosen), steps.gather(0, most)
    steps.scatter_(0, most, of_chosen).scatter_(0, chosen, of_most)
    first = highest(steps).long()[None]
    moved = (first != chosen).to(steps.dtype)
    steps.scatter_add_(0, first, -moved).scatter_add_(0, chosen, moved)
    return steps.to(torch.uint8)


def steps_of_masks(shares: Tensor, labels: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Shares (L, …) of masks and their bits (…) uint8 → steps (L, …) uint8, rounded, above a mask's threshold
    where it is, and not above it elsewhere.
    """
    rounded = (shares * FULL_STEPS).round()
    result = torch.empty_like(rounded, dtype=torch.uint8)
    for bit, least in enumerate(thresholds):
        most_outside = math.floor(least / SHARE_STEP)
        inside = (labels >> bit & 1).bool()
        within = rounded[bit].clamp(min=most_outside + 1, max=FULL_STEPS)
        result[bit] = torch.where(inside, within, rounded[bit].clamp(min=0, max=most_outside))
    return result


class ProbabilityMaps:
    """The maps of all classes, or masks, of one volume on the scan's own grid, filled slice by slice.

    They lie in a temporary file. Beyond what the network saw, class 0 has all and no mask has anything, as in
    the label map.
    """

    def __init__(self, record: Record, classes: int, thresholds: Sequence[float]) -> None:
        self._maps = np.moveaxis(on_disk((*record.original.shape, classes), np.uint8), -1, 0)
        self._thresholds = thresholds
        if not thresholds:
            self._maps[0] = FULL_STEPS

    def steps(self, shares: Tensor, labels: Tensor) -> Tensor:
        """Shares (K, H, W) and labels (H, W) of a slice → steps (K, H, W) uint8, on their device."""
        if self._thresholds:
            return steps_of_masks(shares, labels, self._thresholds)
        return steps_of_classes(shares, labels)

    def put(self, place: Callable[[Array], Array], index: int, steps: Tensor | Array) -> None:
        """Put the steps (K, H, W) of a slice; ``place`` views a map (X, Y, Z) as slices of the network's."""
        for one, values in zip(self._maps, steps, strict=True):
            place(one)[index] = values

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The steps of all classes or masks, (K, X, Y, Z) uint8."""
        return self._maps


def box_of_scan(record: Record, plane: Plane) -> Callable[[Array], Array]:
    """A function that views the box of a scan that was not resampled as (slices, H, W).

    It takes arrays (X, Y, Z) on the scan's own grid.
    """
    box = tuple(slice(*ends) for ends in record.box)
    return lambda array: plane_view(record.in_ras(array)[box], plane)
