"""The parts of `data` for DICOM: rules that choose series as channels, and segments as classes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from medseg.io.dicom.rules import SeriesRules, one_will_do


def _description_alone(value: Any) -> Any:
    return {"description": value} if isinstance(value, str) else value


Selectors = Annotated[
    tuple[int | str, ...],
    Field(min_length=1),
    BeforeValidator(one_will_do, json_schema_input_type=int | str | tuple[int | str, ...]),
]
"""Segments, each by number, code or label; a single one need not be a list."""

OneSeries = Annotated[
    SeriesRules, BeforeValidator(_description_alone, json_schema_input_type=str | SeriesRules)
]
"""Rules of a series; a text alone is the pattern of its description."""
