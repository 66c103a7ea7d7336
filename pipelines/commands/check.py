"""The command `medseg check`: read everything in a folder, change nothing, report what is there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest.hidden import hidden_inputs
from pipelines.commands import check_reading, check_table, dicom_inputs
from pipelines.commands.check_results import Checked


def run(
    folder: Path, recipe_name: str | None, say: Reporter, *, as_json: bool = False, page: Path | None = None
) -> ExitCode:
    """Give a result for every case that a recipe finds in `folder`, or for every file without one.

    The data report is a table on the screen, with `as_json` a JSON object, and a page at the path `page`.
    """
    if not folder.is_dir() and (recipe_name is not None or not dicom_inputs.is_export(folder)):
        how_to_fix = "name a folder of scans, a DICOM file or a zip archive of DICOM"
        raise MedsegError(Code.PATH_MISSING, folder, files.why_no_folder(folder), how_to_fix)
    if page is not None and page.is_dir():
        raise MedsegError(Code.USAGE, page, "a folder", "name the file to write: --html report.html")
    if recipe_name is None and dicom_inputs.any_export([folder]):
        folder = folder.absolute()
        with hidden_inputs([folder], None, say):
            paths = dicom_inputs.files_of(folder)
            checked = check_reading.undescribed_export(paths, say, with_slices=page is not None)
            return _report(checked, folder, say, as_json=as_json, page=page)
    if recipe_name is None:
        from pipelines.commands import check_files  # here, so that DICOM is not kept waiting for it

        checked = check_files.undescribed(folder, say, with_slices=page is not None)
    else:
        recipe = load.load(recipe_name, data=folder)
        is_series = recipe.data.layout == "dicom"
        described = check_reading.described_series if is_series else check_reading.described
        checked = described(folder, recipe, say, with_slices=page is not None)
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
        from pipelines.commands import check_page

        files.write_text(page, check_page.page(checked, remarks, folder))
        say.line(f"page: {page}")
    say.line(f"{usable + excluded} {checked.noun}: {usable} usable, {excluded} would be excluded")
    if as_json:
        say.result(json.dumps(check_table.to_json(checked, remarks), indent=1))
    if not usable:
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE
