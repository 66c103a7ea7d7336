"""Attributes of a frame: of its functional groups or the top level, and the scale of its stored values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.io.dicom.values import as_integer, as_number, tag_of, value_of

if TYPE_CHECKING:
    from pydicom import Dataset

PHILIPS_SCALE = (0x2005, 0x100E)
_PHILIPS_FRAME = (0x2005, 0x140F)
"""Philips's private scale slope, and the private sequence of enhanced files that holds it for each frame."""

GE_COMPONENT = (0x0043, 0x102F)
_GE_COMPONENTS = ("magnitude", "phase", "real", "imaginary")
"""GE's private number of the part of a complex signal: its image types name none."""

SIEMENS_B_VALUE = (0x0019, 0x100C)
"""Siemens's private b-value in s/mm², which stands in files without the public one."""


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
    Raises ValueError for one that is stated and is no number.
    """
    sequence = "PixelValueTransformationSequence"
    slope, intercept = (
        _stated_number(groups.get(sequence, name)) for name in ("RescaleSlope", "RescaleIntercept")
    )
    if slope is None and groups.own is not None:
        slope, intercept = (
            _stated_number(value_of(dataset, "RescaleSlope")),
            _stated_number(value_of(dataset, "RescaleIntercept")),
        )
    slope, intercept = slope or 1.0, intercept or 0.0
    scale = _philips_scale(dataset, groups)
    return (slope, intercept) if scale is None else (1 / scale, intercept / (slope * scale))


def _stated_number(value: Any) -> float | None:
    number = as_number(value)
    if number is None and value not in (None, ""):
        raise ValueError
    return number


def _philips_scale(dataset: Dataset, groups: FrameGroups) -> float | None:
    if not str(value_of(dataset, "Manufacturer", "")).lower().startswith("philips"):
        return None
    private = groups.own.get(tag_of(_PHILIPS_FRAME)) if groups.own is not None else None
    holder = private.value[0] if private is not None and private.value else dataset
    element = holder.get(tag_of(PHILIPS_SCALE))
    return None if element is None else (as_number(element.value) or None)


def ge_component(dataset: Dataset) -> str | None:
    """The part of a complex signal that GE's private element names."""
    if not str(value_of(dataset, "Manufacturer", "")).upper().startswith("GE"):
        return None
    element = dataset.get(tag_of(GE_COMPONENT))
    number = None if element is None else as_integer(element.value)
    return dict(enumerate(_GE_COMPONENTS)).get(-1 if number is None else number)


def siemens_b_value(dataset: Dataset) -> float | None:
    """The b-value in s/mm² that Siemens's private element states."""
    if not str(value_of(dataset, "Manufacturer", "")).upper().startswith("SIEMENS"):
        return None
    element = dataset.get(tag_of(SIEMENS_B_VALUE))
    return None if element is None else as_number(element.value)
