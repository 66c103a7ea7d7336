"""A recipe's `data` as the rules by which ingest reads a DICOM export."""

from __future__ import annotations

from medseg.classes import BACKGROUND
from medseg.config.data import Data
from medseg.ingest.dicom_rules import DicomRules, SegmentRule
from medseg.io.dicom.rules import SeriesRules


def rules_of(data: Data) -> DicomRules:
    """Return the rules by which layout `dicom` finds series and segmentations; without any, all MR series."""
    names = {value: spec.name for value, spec in data.classes.items()}
    background = next((value for value, name in names.items() if name.casefold() == BACKGROUND), 0)
    return DicomRules(
        channels=data.series or {"image": SeriesRules()},
        label=data.label,
        segments=SegmentRule(
            {value: name for value, name in names.items() if value != background}, dict(data.segments)
        ),
        masks=dict(data.masks),
        background=background,
    )
