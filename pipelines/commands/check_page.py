"""The page of `medseg check --html`, from what a check has read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.ingest.survey import Remark
from medseg.report import data_report, thumbnails
from pipelines.commands import check_cases
from pipelines.commands.check_results import Checked

MOST_THUMBNAILS = 1000
"""Thumbnails that the page holds."""


def page(checked: Checked, remarks: Sequence[Remark], folder: Path) -> str:
    """Write the page; thumbnails of cases that a remark names come before others that would be too many."""
    excluded = [result for result in checked.results if result.verdict == "excluded"]
    seen = data_report.names_with_remarks(checked.survey, remarks)
    cases = sorted(checked.slices, key=lambda case: case.name not in seen)
    n_more = max(0, len(cases) - MOST_THUMBNAILS)
    values = {value for entry in checked.survey.labels for value in entry.facts.counts or {}}
    colours = check_cases.colours(checked.classes, values)
    content = data_report.Page(
        title="Data report" if checked.is_hidden else f"Data report: {folder.absolute().name}",
        survey=checked.survey,
        classes=checked.classes,
        remarks=remarks,
        n_usable=sum(result.verdict == "usable" for result in checked.results),
        excluded=[
            data_report.Excluded(result.name, str(finding.code), finding.details, finding.how_to_fix)
            for result in excluded
            for finding in result.findings
            if not finding.is_note
        ],
        thumbnails={
            case.name: thumbnails.thumbnail(case.image, case.label, colours)
            for case in cases[:MOST_THUMBNAILS]
        },
        n_more=n_more,
        unlabelled=frozenset(case.name for case in cases if case.label is None)
        if checked.survey.labels
        else frozenset(),
        noun=checked.noun,
        is_hidden=checked.is_hidden,
        facts=checked.lines,
    )
    return data_report.html(content)
