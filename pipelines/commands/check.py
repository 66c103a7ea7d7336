"""The command `medseg check`: read everything in a folder, change nothing, report what is there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest.hidden import hidden_inputs
from medseg.ingest.survey import Remark
from medseg.ingest.tree import files_under
from medseg.report import data_report, thumbnails
from pipelines.commands import check_cases, check_files, check_reading, check_table, dicom_inputs
from pipelines.commands.check_results import Checked

MOST_PICTURES = 1000
"""Thumbnails that the page holds."""


def run(
    folder: Path, recipe_name: str | None, say: Reporter, *, as_json: bool = False, page: Path | None = None
) -> ExitCode:
    """Give a result for every case that a recipe finds in `folder`, or for every file without one.

    The data report is a table on the screen, with `as_json` a JSON object, and a page at the path `page`.
    """
    if not folder.is_dir() and (recipe_name is not None or not dicom_inputs.is_export(folder)):
        how_to_fix = "name a folder of scans, a DICOM file or a zip archive of DICOM"
        raise MedsegError(Code.PATH_MISSING, folder, "no such folder", how_to_fix)
    if recipe_name is None and dicom_inputs.any_export([folder]):
        folder = folder.absolute()
        with hidden_inputs([folder], None, say):
            paths = [folder / name for name in files_under(folder)] if folder.is_dir() else [folder]
            checked = check_reading.undescribed_export(paths, say, pictures=page is not None)
            return _report(checked, folder, say, as_json=as_json, page=page)
    if recipe_name is None:
        checked = check_files.undescribed(folder, say, pictures=page is not None)
    else:
        recipe = load.load(recipe_name, data=folder)
        is_series = recipe.data.layout == "dicom"
        described = check_reading.described_series if is_series else check_reading.described
        checked = described(folder, recipe, say, pictures=page is not None)
    return _report(checked, folder, say, as_json=as_json, page=page)


def _report(checked: Checked, folder: Path, say: Reporter, *, as_json: bool, page: Path | None) -> ExitCode:
    counts = Counter(result.verdict for result in checked.results)
    usable, excluded = counts["usable"], counts["excluded"]
    remarks = checked.survey.remarks()
    for line in checked.lines:
        say.line(f"  {line}")
    for line in check_table.lines(checked, remarks, say.width):
        say.line(line)
    if page is not None:
        files.write_text(page, data_report.html(_page(checked, remarks, folder)))
        say.line(f"page: {page}")
    say.line(f"{usable + excluded} {checked.noun}: {usable} usable, {excluded} would be excluded")
    if as_json:
        say.result(json.dumps(check_table.to_json(checked, remarks), indent=1))
    if not usable:
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE


def _page(checked: Checked, remarks: Sequence[Remark], folder: Path) -> data_report.Page:
    """The page's content; pictures of cases that a remark names come before others that would be too many."""
    excluded = [result for result in checked.results if result.verdict == "excluded"]
    seen = data_report.names_with_remarks(checked.survey, remarks)
    pictures = sorted(checked.pictures, key=lambda picture: picture.name not in seen)
    n_more = max(0, len(pictures) - MOST_PICTURES)
    values = {value for entry in checked.survey.labels for value in entry.facts.counts or {}}
    colours = check_cases.colours(checked.classes, values)
    return data_report.Page(
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
            picture.name: thumbnails.thumbnail(picture.image, picture.label, colours)
            for picture in pictures[:MOST_PICTURES]
        },
        n_more=n_more,
        unlabelled=frozenset(picture.name for picture in pictures if picture.label is None)
        if checked.survey.labels
        else frozenset(),
        noun=checked.noun,
        is_hidden=checked.is_hidden,
        facts=checked.lines,
    )
