"""Ingest: every input becomes a row of cases.csv, or of quarantine.csv with a code; then the splits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import RandomSplit, Recipe
from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import checks, layouts, splits
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.splits import Splits
from medseg.volume import Case
from pipelines.stage import Job

VERSION = 1
CASE_COLUMNS = ("case", "subject", "labelled", "channels", "label", "shape", "spacing", "unit", "notes")
QUARANTINE_COLUMNS = ("case", "file", "code", "found", "remedy")


def run(job: Job) -> None:
    """Read every file, check it, and write what is usable, what is not and why, and who is in which role."""
    recipe, out = job.recipe, job.work.ingest
    root = data_folder(recipe)
    found = layouts.find(root, recipe.data.layout, recipe.data.channels, recipe.data.label)
    used = {
        "data": recipe.data.model_dump(mode="json"),
        "files": [[files.stamp(p) for p in _paths(c)] for c in found.cases],
        "strays": [str(s) for s in found.strays],
    }
    makes = [out / name for name in ("cases.csv", "quarantine.csv", "splits.csv", "dataset.json")]
    with job.stage("ingest", VERSION, used, makes) as must_run:
        if must_run:
            usable, cases, quarantine = _read_all(job, found.cases)
            quarantine = [_row(s.case, s, root) for s in found.strays] + quarantine
            _must_add_up(len(found.cases) + len(found.strays), cases, quarantine)
            files.write_csv(out / "quarantine.csv", QUARANTINE_COLUMNS, quarantine)
            _must_be_some(root, cases, quarantine)
            files.write_csv(out / "cases.csv", CASE_COLUMNS, cases)
            _say(job)
            made = _split(recipe, usable, quarantine)
            splits.write(out / "splits.csv", made.rows)
            _say_unused(job, made)
            files.write_json(out / "dataset.json", _dataset(recipe, root, found.layout, cases, quarantine))
        else:
            _say(job)


def data_folder(recipe: Recipe) -> Path:
    """The recipe's data folder, or PATH_MISSING."""
    path = recipe.data.path
    if path is None or not path.is_dir():
        what = "no data folder is named" if path is None else "no such folder"
        raise MedsegError(Code.PATH_MISSING, path or "data.path", what, "name it with --data FOLDER")
    return path


def _paths(case: CaseFiles) -> list[Path]:
    return [p for p in (*case.channels.values(), case.label) if p is not None and p.exists()]


def _read_all(
    job: Job, found: Sequence[CaseFiles]
) -> tuple[list[CaseFiles], list[dict[str, Any]], list[dict[str, Any]]]:
    """Usable cases, their rows of cases.csv, and rows of quarantine.csv."""
    classes = job.recipe.data.class_list()
    usable: list[CaseFiles] = []
    cases: list[dict[str, Any]] = []
    quarantine: list[dict[str, Any]] = []
    with job.say.progress("reading", len(found)) as bar:
        for n, each in enumerate(found, 1):
            case, findings = checks.read_case(each, classes)
            if case is None:
                reason = next(f for f in findings if not f.is_note)
                quarantine.append(_row(each.name, reason, job.recipe.data.path))
            else:
                usable.append(each)
                cases.append(_usable(each, case, findings))
            bar.to(n, each.name)
    return usable, cases, quarantine


def _usable(each: CaseFiles, case: Case, findings: Sequence[Finding]) -> dict[str, Any]:
    grid = case.image.grid
    return {
        "case": each.name,
        "subject": each.subject,
        "labelled": "yes" if case.label is not None else "no",
        "channels": json.dumps({k: str(v) for k, v in each.channels.items()}),
        "label": str(each.label or ""),
        "shape": " ".join(map(str, grid.shape)),
        "spacing": " ".join(f"{s:.6g}" for s in grid.spacing),
        "unit": grid.unit,
        "notes": " ".join(sorted({str(f.code) for f in findings})),
    }


def _row(case: str, finding: Finding, root: Path | None) -> dict[str, Any]:
    where = finding.where
    if root is not None and where.startswith(str(root)):
        where = where[len(str(root)) :].lstrip("/")
    return {
        "case": case,
        "file": where,
        "code": str(finding.code),
        "found": finding.found,
        "remedy": finding.remedy,
    }


def _must_add_up(inputs: int, cases: Sequence[Any], quarantine: Sequence[Any]) -> None:
    if inputs != len(cases) + len(quarantine):
        raise MedsegError(
            Code.DOES_NOT_ADD_UP,
            "ingest",
            f"{inputs} inputs, {len(cases)} usable + {len(quarantine)} set aside",
            "please report this with medseg.log",
        )


def _must_be_some(root: Path, cases: Sequence[Any], quarantine: Sequence[dict[str, Any]]) -> None:
    if not cases:
        codes = ", ".join(sorted({q["code"] for q in quarantine})) or "no file matched the layout or patterns"
        raise MedsegError(
            Code.NOTHING_USABLE, root, codes, "see ingest/quarantine.csv, data.layout and data.channels"
        )


def _split(recipe: Recipe, usable: Sequence[CaseFiles], quarantine: Sequence[dict[str, Any]]) -> Splits:
    how = recipe.data.splits
    if isinstance(how, RandomSplit):
        return splits.random_folds(
            usable, folds=how.folds, val_share=how.val, test_share=how.test, seed=how.seed
        )
    aside = [q["case"] for q in quarantine if q["case"]]
    return splits.given(usable, [f.model_dump() for f in how], set_aside=aside)


def _say_unused(job: Job, made: Splits) -> None:
    told = {
        "named by the splits but set aside": made.set_aside,
        "named by the splits but without label": made.unlabelled,
        "labelled but in no role": made.left_out,
    }
    for what, names in told.items():
        if names:
            job.say.line(f"  {what}: {', '.join(names[:10])}" + (" …" if len(names) > 10 else ""))


def _dataset(
    recipe: Recipe,
    root: Path,
    layout: str,
    cases: Sequence[dict[str, Any]],
    quarantine: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "root": str(root),
        "layout": layout,
        "channels": list(json.loads(cases[0]["channels"])),
        "classes": recipe.data.class_list().to_json(),
        "usable": len(cases),
        "labelled": sum(c["labelled"] == "yes" for c in cases),
        "set_aside": len(quarantine),
    }


def _say(job: Job) -> None:
    cases = files.read_csv(job.work.ingest / "cases.csv")
    aside = files.read_csv(job.work.ingest / "quarantine.csv")
    labelled = sum(c["labelled"] == "yes" for c in cases)
    job.say.line(f"  {len(cases)} cases usable ({labelled} labelled), {len(aside)} set aside")
    for row in aside:
        job.say.line(f"  set aside: {row['code']} {row['file']}: {row['found']}; {row['remedy']}")
