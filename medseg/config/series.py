"""The parts of `data` for DICOM: rules that choose series as channels, and segments as classes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from medseg.config.base import Count, Section
from medseg.ingest.series_rules import SeriesRule

Texts = tuple[str, ...]
Selector = int | str
Selectors = Annotated[tuple[Selector, ...], Field(min_length=1)]


class Series(Section):
    """A rule that chooses the DICOM series of a channel: everything that is given must fit. A text alone is
    the pattern of the description. Patterns have `*` and `?`; upper and lower case are the same.
    """

    description: Texts = ()
    """Patterns of the SeriesDescription, one of which must fit. Typical: `"*t1*mprage*"`."""

    without: Texts = ()
    """Patterns of the SeriesDescription that must not fit. Typical: left out, or `["*localizer*"]`."""

    protocol: str | None = None
    """Pattern of the ProtocolName. Typical: left out."""

    sequence: str | None = None
    """Pattern of ScanningSequence, SequenceName or PulseSequenceName. Typical: left out, or `"GR*"`."""

    modality: str | None = None
    """Modality. Typical: `MR` or `CT`."""

    image_type: Texts = ()
    """Words of ImageType, all of which must be there. Typical: left out, or `[ORIGINAL, PRIMARY]`."""

    contrast: bool | None = None
    """True for series with a contrast agent, false for those without. Typical: left out."""

    min_slices: Count = 1
    """Fewest slices. Typical: 20, which leaves localizers out."""

    @field_validator("description", "without", "image_type", mode="before", json_schema_input_type=str | Texts)
    @classmethod
    def _one_text_will_do(cls, value: Any) -> Any:
        return one_will_do(value)

    def rule(self) -> SeriesRule:
        """The rule as ingest applies it."""
        return SeriesRule(**dict(self))


def one_will_do(value: Any) -> Any:
    """A single text or number as a list of one (for validators)."""
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value
