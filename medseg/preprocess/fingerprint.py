"""The fingerprint of a data set: what recipes are fitted to, measured on labelled cases, training ones alone.

Axes are those of RAS+ for scans, rows and columns for images, whose pixels have the size 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.classes import ClassList
from medseg.grid import Array
from medseg.mask_bits import unpack_masks
from medseg.preprocess import geometry, intensity, store
from medseg.preprocess.geometry import GeometryPlan
from medseg.volume import Case

Triple = tuple[float, float, float]

_AIR_HU = -900.0
"""CT holds air, about -1000 HU; images of magnetic resonance and grey images hold no such values."""


@dataclass(frozen=True)
class CaseFingerprint:
    """One labelled case: its grid, its foreground by the rule ``auto``, its grey values and its classes.

    ``cropped`` is the shape of the foreground's box with the usual margin, ``label_outside`` the number of
    labelled voxels beyond it. ``fills`` is true where the lowest grey value fills a fifth of a channel, so
    that ``auto`` leaves it out. ``lowest`` is the lowest grey value of any channel. ``voxels`` counts each
    class index, or each mask; ``means`` is the mean grey value of each class index in the first channel,
    scaled by the foreground's mean and standard deviation.
    """

    channels: int
    shape: tuple[int, int, int]
    cropped: tuple[int, int, int]
    spacing: Triple
    label_outside: int
    fills: bool
    lowest: float
    voxels: dict[int, int]
    means: dict[int, float]


def of_case(case: Case, classes: ClassList) -> CaseFingerprint:
    """Measure one labelled case. Raises ValueError for one without label."""
    if case.label is None:
        raise ValueError(f"{case.name} has no label to measure")
    whole, _ = geometry.apply(case.image, GeometryPlan())
    cropped, record = geometry.apply(case.image, GeometryPlan(crop=True))
    label = geometry.apply_to_labels(case.label, record).array[0]
    everywhere = case.label.array[0]
    if classes.multilabel:
        label, everywhere = (unpack_masks(part, len(classes)) for part in (label, everywhere))
    counts, inside = store.count(everywhere), store.count(label)
    labelled = range(classes.foreground.start, len(classes))
    return CaseFingerprint(
        len(case.image.array),
        whole.grid.shape,
        cropped.grid.shape,
        geometry.ras_spacing(case.image.grid) if case.image.grid.unit == "mm" else (1.0, 1.0, 1.0),
        sum(counts.get(index, 0) - inside.get(index, 0) for index in labelled),
        any(math.isfinite(intensity.threshold(channel, "auto")) for channel in case.image.array),
        float(case.image.array.min()),
        counts,
        {} if classes.multilabel else _means(cropped.array[0], label, counts),
    )


def _means(channel: Array, label: Array, counts: dict[int, int]) -> dict[int, float]:
    """Mean of each class in a channel (X, Y, Z), scaled by the channel's foreground."""
    inside = channel[intensity.foreground(channel, "auto")]
    mean, std = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64)) or 1.0
    sums = {index: channel[label == index] for index in counts}
    return {
        index: (float(values.mean(dtype=np.float64)) - mean) / std
        for index, values in sums.items()
        if len(values)
    }


@dataclass(frozen=True)
class Fingerprint:
    """All measured cases, the number of cases to train on and to validate with, and what is segmented."""

    cases: Sequence[CaseFingerprint]
    n_train: int
    n_val: int
    classes: ClassList
    unit: Literal["mm", "px"]

    @property
    def n_channels(self) -> int:
        """Number of channels of each case."""
        return self.cases[0].channels

    @cached_property
    def spacing(self) -> Triple:
        """Median voxel size along each axis, in mm or px."""
        right, anterior, superior = np.median([case.spacing for case in self.cases], axis=0).tolist()
        return right, anterior, superior

    @cached_property
    def spacing_ratio(self) -> float:
        """Largest voxel size over the smallest one, along the axis where cases differ most."""
        sizes = np.array([case.spacing for case in self.cases])
        return float((sizes.max(axis=0) / sizes.min(axis=0)).max())

    def shape(self, *, cropped: bool, spacing: Triple | None = None) -> tuple[int, int, int]:
        """Median shape of the cases, or of their foreground; as they are, or resampled to ``spacing``."""
        shapes = np.array([case.cropped if cropped else case.shape for case in self.cases], np.float64)
        if spacing is not None:
            shapes *= np.array([case.spacing for case in self.cases]) / spacing
        x, y, z = (max(1, round(side)) for side in np.median(shapes, axis=0).tolist())
        return x, y, z

    @cached_property
    def shares(self) -> dict[int, float]:
        """Share of the labelled voxels' grids that each class index fills, for classes that occur."""
        total = sum(math.prod(case.shape) for case in self.cases)
        sums: npt.NDArray[np.float64] = np.zeros(len(self.classes))
        for case in self.cases:
            for index, count in case.voxels.items():
                sums[index] += count
        return {index: float(n) / total for index, n in enumerate(sums) if n}

    @cached_property
    def foreground_share(self) -> float:
        """Share of the voxels that belong to any foreground class."""
        start = self.classes.foreground.start
        return sum(share for index, share in self.shares.items() if index >= start)

    @cached_property
    def rarest(self) -> float:
        """Share of the rarest foreground class; 0 where none occurs."""
        start = self.classes.foreground.start
        return min((share for index, share in self.shares.items() if index >= start), default=0.0)

    @property
    def is_ct(self) -> bool:
        """True for scans in Hounsfield units: every case holds air."""
        return self.unit == "mm" and all(case.lowest <= _AIR_HU for case in self.cases)

    @cached_property
    def grey_spread(self) -> float:
        """Standard deviation over cases of a class's scaled mean grey value, the largest of the classes."""
        start = self.classes.foreground.start
        by_class = [
            [case.means[index] for case in self.cases if index in case.means]
            for index in range(start, len(self.classes))
        ]
        return max((float(np.std(values)) for values in by_class if len(values) > 1), default=0.0)
