"""Ingest: every input becomes a row of cases.csv, or of quarantine.csv with a code; then the splits."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.config.data import RandomSplit
from medseg.config.recipe import Preprocess, Recipe
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.ingest import checks, layouts, mask_files, quarantine, splits
from medseg.ingest import palettes as palette_checks
from medseg.ingest.patterns import CaseFiles, Found, measured_under
from medseg.ingest.splits import Splits
from medseg.io import scans
from medseg.volume import Case
from pipelines.case_tables import label_cell
from pipelines.job import Job

VERSION = 1
MOST_THREADS = 8
CASE_COLUMNS = ("case", "subject", "labelled", "channels", "label", "shape", "spacing", "unit", "notes")


def run(job: Job) -> None:
    """Read every file, check it, and write what is usable, what is not and why, and who is in which role.

    Every scan of the folder is accounted for: usable, excluded, or matched by no pattern, which is said too.
    """
    recipe, out = job.recipe, job.work.ingest
    root = data_folder(recipe)
    d = recipe.data
    found = layouts.find(root, d.layout, d.channels, d.label, job.work.root, d.table, d.masks)
    used = {
        "data": recipe.data.model_dump(mode="json"),
        "files": [[files.stamp(p) for p in _paths(c)] for c in found.cases],
        "strays": [str(s) for s in found.strays],
        "roles": found.roles,
        "ignored": found.ignored_below(root),
    }
    makes = [out / name for name in ("cases.csv", "quarantine.csv", "splits.csv", "dataset.json")]
    with job.stage("ingest", VERSION, used, makes) as must_run:
        if must_run:
            usable, cases, excluded = _read_all(job, found)
            excluded = [quarantine.row(s.case, s, root=root) for s in found.strays] + excluded
            tree = [root / p for p in measured_under(found.unit, root, job.work.root)]
            _must_add_up(tree, found, cases, excluded)
            quarantine.write(out / "quarantine.csv", excluded)
            files.write_csv(out / "cases.csv", CASE_COLUMNS, cases)
            _say(job, found, root)
            _must_be_some(root, cases, excluded)
            made = _split(recipe, found, usable, excluded)
            splits.write(out / "splits.csv", made.rows)
            _say_unused(job, made)
            files.write_json(out / "dataset.json", _dataset(recipe, root, found, cases, excluded))
        else:
            _say(job, found, root)


def data_folder(recipe: Recipe) -> Path:
    """The recipe's data folder, or PATH_MISSING."""
    path = recipe.data.path
    if path is None or not path.is_dir():
        what = "no data folder is named" if path is None else "no such folder"
        raise MedsegError(Code.PATH_MISSING, path or "data.path", what, "name it with --data FOLDER")
    return path


def _paths(case: CaseFiles) -> list[Path]:
    labels = (path for label in case.label_paths for path in mask_files.files_of(label))
    return [p for p in (*case.channels.values(), *labels) if p.exists()]


def _read_all(job: Job, found: Found) -> tuple[list[CaseFiles], list[dict[str, Any]], list[quarantine.Row]]:
    """Usable cases, their rows of cases.csv, and rows of quarantine.csv, in the order of the cases.

    Pictures are decoded by several threads; scans, which may be large, one after the other.
    """
    classes, root = job.recipe.data.class_list(), job.recipe.data.path
    usable: list[CaseFiles] = []
    cases: list[dict[str, Any]] = []
    excluded: list[quarantine.Row] = []
    palettes = palette_checks.faults_by_case(found.cases, classes)
    scaling = job.recipe.preprocess
    threads = min(MOST_THREADS, os.cpu_count() or 1) if found.unit == "px" else 1
    with job.say.progress("reading", len(found.cases)) as bar, ThreadPoolExecutor(threads) as pool:
        try:
            rows = pool.map(
                lambda each: palettes.get(each.name) or _read_one(each, classes, found.unit, scaling),
                found.cases,
            )
            for n, (each, row) in enumerate(zip(found.cases, rows, strict=True), 1):
                if isinstance(row, Finding):
                    excluded.append(quarantine.row(each.name, row, root=root))
                else:
                    usable.append(each)
                    cases.append(row)
                bar.to(n, each.name)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return usable, cases, excluded


def _read_one(
    each: CaseFiles, classes: ClassList, unit: scans.Unit, scaling: Preprocess
) -> dict[str, Any] | Finding:
    """A case's row of cases.csv, or why it is excluded."""
    case, findings = checks.read_case(each, classes, intensity=scaling.intensity, n4=scaling.n4)
    if case is None:
        return refusal(findings).finding
    if case.image.grid.unit != unit:
        found = f"a grid in {case.image.grid.unit} where the others are in {unit}"
        path = str(next(iter(each.channels.values())))
        return Finding(Code.UNIT_MISMATCH, path, found, "use scans and pictures in recipes of their own")
    return _usable(each, case, findings)


def _usable(each: CaseFiles, case: Case, findings: Sequence[Finding]) -> dict[str, Any]:
    grid = case.image.grid
    return {
        "case": each.name,
        "subject": each.subject,
        "labelled": "yes" if case.label is not None else "no",
        "channels": json.dumps({k: str(v) for k, v in each.channels.items()}),
        "label": label_cell(each),
        "shape": " ".join(map(str, grid.shape)),
        "spacing": " ".join(f"{s:.6g}" for s in grid.spacing),
        "unit": grid.unit,
        "notes": " ".join(sorted({str(f.code) for f in findings})),
    }


def _must_add_up(
    scans: Sequence[Path], found: Found, cases: Sequence[dict[str, Any]], excluded: Sequence[quarantine.Row]
) -> None:
    """Hold the rows against the folder itself: each of its `scans` is in a case, a stray, or ignored.

    And each case and each stray has become one row.
    """
    held = found.files()
    lost = sorted(path for path in scans if path not in held and path.parent not in held)
    inputs = sorted([c.name for c in found.cases] + [s.case for s in found.strays])
    rows = sorted(row["case"] for row in (*cases, *excluded))
    if lost or inputs != rows:
        told = f"{len(lost)} scans in no row{': ' if lost else ''}{quarantine.some([str(p) for p in lost])}"
        told += f"; {len(inputs)} inputs, {len(cases)} usable + {len(excluded)} excluded"
        raise MedsegError(Code.DOES_NOT_ADD_UP, "ingest", told, "please report this with medseg.log")


def _must_be_some(root: Path, cases: Sequence[Any], excluded: Sequence[quarantine.Row]) -> None:
    if not cases:
        codes = ", ".join(sorted({q["code"] for q in excluded})) or "no file matched the layout or patterns"
        raise MedsegError(
            Code.NOTHING_USABLE, root, codes, "see ingest/quarantine.csv, data.layout and data.channels"
        )


def _split(
    recipe: Recipe, found: Found, usable: Sequence[CaseFiles], excluded: Sequence[quarantine.Row]
) -> Splits:
    """The splits; where they fail, the cases that were excluded are named with their codes."""
    how = recipe.data.splits
    try:
        if isinstance(how, RandomSplit):
            return splits.random_folds(
                usable, folds=how.folds, val_share=how.val, test_share=how.test, seed=how.seed
            )
        if how == "listed":
            return splits.listed(usable, found.roles, excluded=[row["case"] for row in excluded])
        return splits.given(usable, [f.model_dump() for f in how], excluded=[row["case"] for row in excluded])
    except MedsegError as error:
        if not excluded:
            raise
        f, named = error.finding, quarantine.some([f"{row['case']} ({row['code']})" for row in excluded])
        raise MedsegError(f.code, f.where, f"{f.details}; excluded: {named}", f.how_to_fix) from error


def _say_unused(job: Job, made: Splits) -> None:
    told = {
        "named by the splits but excluded": made.excluded,
        "named by the splits but without label": made.unlabelled,
        "labelled but in no role": made.left_out,
    }
    for what, names in told.items():
        if names:
            job.say.line(f"  {what}: {quarantine.some(names)}")


def _dataset(
    recipe: Recipe,
    root: Path,
    found: Found,
    cases: Sequence[dict[str, Any]],
    excluded: Sequence[quarantine.Row],
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "root": str(root),
        "layout": found.layout,
        "channels": list(json.loads(cases[0]["channels"])),
        "unit": found.unit,
        "classes": recipe.data.class_list().to_json(),
        "usable": len(cases),
        "labelled": sum(c["labelled"] == "yes" for c in cases),
        "excluded": len(excluded),
        "ignored": found.ignored_below(root),
    }


def _say(job: Job, found: Found, root: Path) -> None:
    cases = files.read_csv(job.work.ingest / "cases.csv")
    excluded = files.read_csv(job.work.ingest / "quarantine.csv")
    labelled = sum(c["labelled"] == "yes" for c in cases)
    job.say.line(f"  {len(cases)} cases usable ({labelled} labelled), {len(excluded)} excluded")
    for row in excluded:
        job.say.line(f"  {quarantine.line(row)}")
    if ignored := found.ignored_below(root):
        job.say.line(f"  {quarantine.ignored_line(ignored, found.unit, found.known_by)}")
