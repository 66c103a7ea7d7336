"""Attributes of a frame: of its functional groups or the top level, and the scale of its stored values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.io.dicom.values import as_number, tag_of, value_of

if TYPE_CHECKING:
    from pydicom import Dataset

PHILIPS_SCALE = (0x2005, 0x100E)
_PHILIPS_FRAME = (0x2005, 0x140F)
"""Philips's private scale slope, and the private sequence of enhanced files that holds it for each frame."""


@dataclass(frozen=True)
class FrameGroups:
    """The places of a frame's attributes: its own functional groups, the shared ones, or the top level."""

    dataset: Dataset
    shared: Dataset | None
    own: Dataset | None
    single: bool

    def get(self, sequence: str, attribute: str) -> Any:
        """An attribute of a functional group; of a classic single frame the top level's."""
        for groups in (self.own, self.shared):
            items = None if groups is None else value_of(groups, sequence)
            if items and tag_of(attribute) in items[0]:
                return value_of(items[0], attribute)
        if self.own is None and self.single:
            return value_of(self.dataset, attribute)
        return None


def scaling_of(dataset: Dataset, groups: FrameGroups) -> tuple[float, float]:
    """Slope and intercept of a frame's stored values.

    Philips scanners also store a scale slope s with which (stored · slope + intercept) / (slope · s) is the
    signal itself, comparable between scans (Chenevert et al. 2014, Transl Oncol 7(1)).
    """
    sequence = "PixelValueTransformationSequence"
    slope, intercept = (
        as_number(groups.get(sequence, name)) for name in ("RescaleSlope", "RescaleIntercept")
    )
    if slope is None and groups.own is not None:
        slope, intercept = (
            as_number(value_of(dataset, "RescaleSlope")),
            as_number(value_of(dataset, "RescaleIntercept")),
        )
    slope, intercept = slope or 1.0, intercept or 0.0
    scale = _philips_scale(dataset, groups)
    return (slope, intercept) if scale is None else (1 / scale, intercept / (slope * scale))


def _philips_scale(dataset: Dataset, groups: FrameGroups) -> float | None:
    if not str(value_of(dataset, "Manufacturer", "")).lower().startswith("philips"):
        return None
    private = groups.own.get(tag_of(_PHILIPS_FRAME)) if groups.own is not None else None
    holder = private.value[0] if private is not None and private.value else dataset
    element = holder.get(tag_of(PHILIPS_SCALE))
    return None if element is None else (as_number(element.value) or None)
