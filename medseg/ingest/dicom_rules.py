"""Rules for a DICOM export: its series by channel, and segments of DICOM SEG by label, number or code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medseg.io.dicom.rules import SeriesRules, like
from medseg.io.dicom.segments import Segment

Selector = int | str
"""A segment's number, its property code (`SCT:10200004`), or a pattern of its label."""


@dataclass(frozen=True)
class SegmentRule:
    """The value of each segment in the label map: by the ``selectors`` of values, else by classes' ``names``.

    Names are compared with labels regardless of case and of underscores.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    selectors: Mapping[int, tuple[Selector, ...]] = field(default_factory=dict)

    def values_of(self, segment: Segment) -> list[int]:
        """The values whose class a segment belongs to: one, if the recipe fits."""
        if self.selectors:
            return [v for v, wanted in self.selectors.items() if any(selects(s, segment) for s in wanted)]
        return [v for v, name in self.names.items() if plain_words(name) == plain_words(segment.label)]


@dataclass(frozen=True)
class DicomRules:
    """The part of a recipe that says what an export's series and segmentations are.

    ``label`` is a pattern of a SEG's SeriesDescription, or of the path of a label map's file. Instead of
    ``segments`` there may be ``masks``: mask name → segment. ``background`` is the value of voxels in no
    segment.
    """

    channels: Mapping[str, SeriesRules]
    label: str | None = None
    segments: SegmentRule = field(default_factory=SegmentRule)
    masks: Mapping[str, Selector] = field(default_factory=dict)
    background: int = 0


def selects(selector: Selector, segment: Segment) -> bool:
    """Tell whether a selector means this segment."""
    if isinstance(selector, int):
        return selector == segment.number
    return selector == segment.code or like(segment.label, selector)


def plain_words(text: str) -> str:
    """A label or name as it is compared: regardless of case, of underscores and of blanks around it."""
    return " ".join(text.casefold().replace("_", " ").split())
