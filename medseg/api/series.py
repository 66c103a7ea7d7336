"""DICOM series as scans of the Python interface: the one of a folder that a model's rules choose."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.io.dicom import require_packages
from medseg.io.dicom.series import SeriesVolume, read_export
from medseg.model.description import Description
from pipelines.commands import segment_series
from pipelines.commands.segment_series import SeriesCase


def channels_of_export(folder: Path, description: Description) -> dict[str, SeriesVolume]:
    """The series of a folder that fit a model, by channel.

    Raises NOTHING_USABLE for a folder without series, the reason against the first where none fits, and
    SERIES_AMBIGUOUS where several do; EXTRA_MISSING.
    """
    require_packages()
    volumes = read_export(folder).volumes
    if not volumes:
        how_to_fix = "name a scan's file, or the folder of a DICOM series; `medseg segment` takes many scans"
        raise MedsegError(Code.NOTHING_USABLE, "scan", "a folder without DICOM series", how_to_fix)
    named = [(f"volume {number}", volume) for number, volume in enumerate(volumes, 1)]
    cases = list(segment_series.choose(named, description.series_rules()))
    return dict(_only(cases).channels)


def _only(cases: list[SeriesCase]) -> SeriesCase:
    """The only case that can be segmented."""
    usable = [case for case in cases if case.reason is None]
    if len(usable) == 1:
        return usable[0]
    if usable:
        details = f"{len(usable)} series fit the model: {'; '.join(case.decision for case in usable)}"
        how_to_fix = "name the folder of one of them; `medseg segment` takes all"
        raise MedsegError(Code.SERIES_AMBIGUOUS, "scan", details, how_to_fix)
    reason = next(case.reason for case in cases if case.reason is not None)
    details = f"none of {len(cases)} DICOM volumes fits: {reason.details}"
    raise MedsegError(reason.code, "scan", details, reason.how_to_fix)
