"""The parts of `data` for DICOM: rules that choose series as channels, and segments as classes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from medseg.config.base import Count, Section
from medseg.ingest.series_rules import SeriesRule


def _one_will_do(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _description_alone(value: Any) -> Any:
    return {"description": value} if isinstance(value, str) else value


Texts = Annotated[
    tuple[str, ...], BeforeValidator(_one_will_do, json_schema_input_type=str | tuple[str, ...])
]
Selectors = Annotated[
    tuple[int | str, ...],
    Field(min_length=1),
    BeforeValidator(_one_will_do, json_schema_input_type=int | str | tuple[int | str, ...]),
]
"""Segments, each by number, code or label; a single one need not be a list."""


class Series(Section):
    """A rule that chooses the DICOM series of a channel: everything that is given must fit.

    A text alone is the pattern of the description. Patterns have `*` and `?`; case does not matter.
    """

    description: Texts = ()
    """Patterns of the SeriesDescription, one of which must fit. Typical: `"*t1*mprage*"`."""

    without: Texts = ()
    """Patterns of the SeriesDescription that must not fit. Typical: left out, or `"*localizer*"`."""

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

    def rule(self) -> SeriesRule:
        """The rule as ingest applies it."""
        return SeriesRule(**dict(self))


OneSeries = Annotated[Series, BeforeValidator(_description_alone, json_schema_input_type=str | Series)]
"""A rule; a text alone is the pattern of its description."""
