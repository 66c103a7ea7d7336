"""Fusion of several planes of one volume, in two ways.

Mean probabilities (Roy et al., QuickNAT 2019; Henschel et al., FastSurfer 2020) or a majority of label maps.
Neither holds classes × volume in memory: label maps are one byte a voxel and plane, probabilities lie in a
temporary file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.infer.scratch import on_disk
from medseg.mask_bits import pack_masks, unpack_masks
from medseg.patches.slabs import plane_view

Shape = tuple[int, int, int]

JOINED: Plane = "axial"
"""Joined results come slice by slice of this plane: its slices lie one after the other in Fortran order."""


class MeanOverPlanes:
    """The mean of the planes' probabilities: float16 (K, X, Y, Z) in a temporary file.

    Overlapping masks have ``thresholds``, which the mean must exceed. Raises DISK_FULL.
    """

    def __init__(
        self, shape: Shape, planes: Sequence[Plane], classes: int, thresholds: Sequence[float] = ()
    ) -> None:
        self._planes = len(planes)
        self._thresholds = thresholds
        self._sums = on_disk((classes, *shape), np.float16)

    def add(self, plane: Plane, index: int, probabilities: npt.NDArray[np.float32]) -> None:
        """Add a plane's probabilities (K, H, W) at its slice ``index``.

        torch adds them: numpy's conversion to float16 takes ten times as long where shares are tiny, as most
        are, since each one signals an underflow.
        """
        sums = torch.from_numpy(self._sums).select(PLANE_AXIS[plane] + 1, index)
        sums.add_(torch.from_numpy(probabilities / np.float32(self._planes)))

    def shares(self) -> Iterator[npt.NDArray[np.float32]]:
        """Mean probabilities (K, X, Y) of each axial slice."""
        for index in range(self._sums.shape[-1]):
            yield np.asarray(self._sums[..., index], np.float32)

    def result(self) -> Iterator[tuple[Array, Array]]:
        """Labels (X, Y) uint8 and confidence (X, Y) float32, by mean probability, of each axial slice."""
        for means in self.shares():
            yield _inside(means, self._thresholds) if self._thresholds else _first_and_lead(means)


class VoteOverPlanes:
    """The majority of the planes' label maps, each uint8 (X, Y, Z); a tie goes to the lowest class index.

    With ``multilabel`` each mask has a majority of its own; a tie is outside.
    """

    def __init__(
        self, shape: Shape, planes: Sequence[Plane], classes: int, *, multilabel: bool = False
    ) -> None:
        self._multilabel = multilabel
        self._maps = {plane: np.zeros(shape, np.uint8, order="F") for plane in planes}
        self._classes = classes

    def add(self, plane: Plane, index: int, labels: npt.NDArray[np.uint8]) -> None:
        """Put a plane's labels (H, W) at its slice ``index``."""
        plane_view(self._maps[plane], plane)[index] = labels

    def shares(self) -> Iterator[Array]:
        """Each class's, or each mask's, share of the planes (K, X, Y) float32 of each axial slice."""
        return (votes / np.float32(len(self._maps)) for votes in self._votes())

    def result(self) -> Iterator[tuple[Array, Array]]:
        """Labels (X, Y) uint8 and confidence (X, Y) float32, by vote share, of each axial slice."""
        planes = np.float32(len(self._maps))
        for votes in self._votes():
            if self._multilabel:
                yield _inside(votes / planes, (0.5,) * self._classes)
            else:
                labels, lead = _first_and_lead(votes)
                yield labels, lead / planes

    def _votes(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The planes that vote for each class (K, X, Y), of each axial slice."""
        for maps in zip(*(plane_view(labels, JOINED) for labels in self._maps.values()), strict=True):
            if self._multilabel:
                yield np.sum([unpack_masks(labels, self._classes) for labels in maps], 0, np.uint8)
                continue
            votes = np.zeros((self._classes, *maps[0].shape), np.uint8)
            rows, columns = np.ogrid[: votes.shape[1], : votes.shape[2]]
            for labels in maps:
                votes[labels, rows, columns] += 1
            yield votes


def _inside(shares: Array, thresholds: Sequence[float]) -> tuple[npt.NDArray[np.uint8], Array]:
    """Bits of the masks whose shares (L, H, W) exceed their thresholds; the least of |2·share − 1|."""
    packed = pack_masks(share > least for share, least in zip(shares, thresholds, strict=True))
    return packed, np.abs(2 * shares - 1).min(axis=0)


def _first_and_lead(scores: Array) -> tuple[npt.NDArray[np.uint8], Array]:
    """The class of the highest of (K, H, W), ties to the lowest index; how far it is above the second."""
    second, first = np.partition(scores, len(scores) - 2, axis=0)[-2:]
    return scores.argmax(axis=0).astype(np.uint8), first - second
