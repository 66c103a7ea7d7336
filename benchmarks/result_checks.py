"""Checks of a work folder before its numbers count: no test case was seen by anything but the evaluation."""

from __future__ import annotations

from pathlib import Path

from medseg import files
from medseg.errors import Code, MedsegError, some
from medseg.ingest import splits
from medseg.ingest.splits import SplitRow
from pipelines import case_tables
from pipelines.fold import earlier
from pipelines.workfolder import Work

HOW_TO_FIX = "correct the row's splits, and run it in a new work folder"


def require_unseen(work: Work) -> None:
    """Raise unless every test case of every fold is unknown to that fold's training and validation.

    SUBJECT_ON_BOTH_SIDES for a subject in two roles of a fold, and for a file of one content under two names;
    SPLIT_INVALID where no case is tested, or one in two folds; SETTINGS_CHANGED where a network was trained
    or validated with one of its test cases.
    """
    rows = splits.read(work.ingest / "splits.csv")
    _require_tested_once(rows)
    _require_other_contents(work, rows)
    earlier.require_unseen(work, rows)


def _require_tested_once(rows: list[SplitRow]) -> None:
    tested = [row.case for row in rows if row.role == "test"]
    if not tested:
        raise MedsegError(Code.SPLIT_INVALID, "splits", "no case has the role test", HOW_TO_FIX)
    if twice := sorted({case for case in tested if tested.count(case) > 1}):
        details = f"tested in several folds, and so counted several times: {some(twice)}"
        raise MedsegError(Code.SPLIT_INVALID, "splits", details, HOW_TO_FIX)


def _require_other_contents(work: Work, rows: list[SplitRow]) -> None:
    """Refuse the same scan under two names: a subject's name alone does not tell."""
    by_name = case_tables.cases(work.ingest)
    contents = {
        row.case: {files.sha256(path) for path in _scans(by_name[row.case]) if path.is_file()} for row in rows
    }
    for fold in sorted({row.fold for row in rows}):
        tested = [row.case for row in rows if row.fold == fold and row.role == "test"]
        others = [row.case for row in rows if row.fold == fold and row.role in ("train", "val")]
        known = {content: case for case in others for content in contents[case]}
        for case in tested:
            if same := [known[content] for content in contents[case] if content in known]:
                details = (
                    f"fold {fold}: the test case {case} is the same file as {same[0]}, which is trained on"
                )
                raise MedsegError(Code.SUBJECT_ON_BOTH_SIDES, "splits", details, HOW_TO_FIX)


def _scans(row: dict[str, str]) -> list[Path]:
    return [path for path in case_tables.case_files(row).channels.values() if isinstance(path, Path)]
