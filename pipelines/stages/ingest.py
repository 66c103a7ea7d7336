"""The stage ingest: each input becomes a row of cases.csv, or of quarantine.csv with a code; then splits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.config.data import RandomSplit
from medseg.config.dicom import rules_of
from medseg.config.recipe import Recipe
from medseg.config.sections import Preprocess
from medseg.errors import Code, Finding, MedsegError, refusal, some
from medseg.infer import results
from medseg.ingest import (
    checks,
    dicom_folder,
    ignored,
    instances,
    layouts,
    leftovers,
    mask_files,
    palettes,
    quarantine,
    splits,
)
from medseg.ingest.dicom_folder import DicomFolder
from medseg.ingest.patterns import CaseFiles, FolderContents
from medseg.ingest.splits import Splits
from medseg.ingest.tree import files_under, sorted_tree
from medseg.io import scans
from medseg.process import most_threads
from pipelines.case_tables import label_cell
from pipelines.execution import lost
from pipelines.execution.engines import Execution
from pipelines.execution.limits import machine_memory
from pipelines.execution.steps import Steps, Work
from pipelines.job import Job

VERSION = 1
MOST_THREADS = 8
MEMORY_PER_BYTE = 40
"""Bytes of memory for each byte of a case's files while it is checked: gzip makes label maps that small."""
PART_OF_MEMORY = 0.5
"""Part of the machine's memory that cases may take while they are checked."""

CASE_COLUMNS = ("case", "subject", "labelled", "channels", "label", "shape", "spacing", "unit", "notes")


def run(job: Job) -> None:
    """Read every file, check it, and write what is usable, what is not and why, and who is in which role.

    Every file of the folder is accounted for: usable, excluded, or in a sentence about those left over.
    Raises SUBJECT_ON_BOTH_SIDES where names suggest it and the job is strict.
    """
    recipe, out = job.recipe, job.work.ingest
    root = data_folder(recipe)
    data = recipe.data
    export = _export(job, root) if data.layout == "dicom" else None
    contents = contents_of(job.recipe, root, job.work.outputs) if export is None else export.contents
    used: dict[str, Any] = {
        "data": data.used_for_cases(),
        "files": [[files.stamp(p) for p in _paths(c)] for c in contents.cases],
        "strays": [str(s) for s in contents.strays],
        "roles": contents.roles,
        "ignored": contents.ignored_below(root),
        "unread": [str(path) for path in contents.unread],
    }
    if export is not None:
        used["dicom"] = export.stamps
    if recipe.reconstructs:
        used["needs_labels"] = False
    makes = [out / name for name in ("cases.csv", "quarantine.csv", "splits.csv", "dataset.json")]
    with job.stage("ingest", VERSION, used, makes) as must_run:
        if must_run:
            usable, cases, excluded = _read_all(job, contents)
            excluded = [quarantine.row(s.case, s, root=root) for s in contents.strays] + excluded
            _must_add_up(root, job.work.outputs, contents, cases, excluded)
            quarantine.write(out / "quarantine.csv", excluded)
            files.write_csv(out / "cases.csv", CASE_COLUMNS, cases)
            _say(job, contents, root)
            if not cases:
                codes = {row["code"] for row in excluded}
                key, where, nothing = "channels", str(root), "no file matched the layout or patterns"
                if export is not None:
                    key, where, nothing = "series", "data.path", "no series is chosen by data.series"
                details = ", ".join(sorted(codes)) or nothing
                how_to_fix = f"see ingest/quarantine.csv, data.layout and data.{key}"
                raise MedsegError(Code.NOTHING_USABLE, where, details, how_to_fix)
            all_splits = split(recipe, contents, usable, excluded)
            _check_result_names(job, all_splits, contents.unit)
            splits.write(out / "splits.csv", all_splits.rows)
            _say_unused(job, all_splits)
            files.write_json(out / "dataset.json", _dataset(recipe, root, contents, cases, excluded))
        else:
            _say(job, contents, root)
        _compare_names(job, contents)
    _require_channels(job)


def _require_channels(job: Job) -> None:
    """Raise RECIPE_INVALID for rules of series whose channel no case has: some layouts tell the channels."""
    known = files.read_json(job.work.ingest / "dataset.json")["channels"]
    if unknown := [name for name in job.recipe.data.series if name not in known]:
        details, how_to_fix = f"no channel {', '.join(unknown)}", f"name some of {', '.join(known)}"
        raise MedsegError(Code.RECIPE_INVALID, "data.series", details, how_to_fix)


def contents_of(recipe: Recipe, root: Path, without: Path | None) -> FolderContents:
    """The cases of a recipe below its data folder; nothing is read but names. Not for layout dicom."""
    data = recipe.data
    contents = layouts.find(
        root,
        data.layout,
        data.channels,
        data.label_pattern,
        without,
        data.table,
        data.mask_patterns,
        subject=data.subject,
    )
    return ignored.without(contents, root, data.ignore)


def _export(job: Job, root: Path) -> DicomFolder:
    """The cases of a DICOM export; index, key and references to their files go to `private/`."""
    sources = dicom_folder.sources(root, job.work.outputs)
    with job.say.progress("reading headers", len(sources)) as bar:
        export = dicom_folder.find(root, sources, rules_of(job.recipe.data), job.work.root, bar.to)
    for remark in export.remarks:
        job.say.line(f"  {remark}")
    return export


def _compare_names(job: Job, contents: FolderContents) -> None:
    """Warn of cases on different sides of a split that look like one subject's; refuse them if strict.

    A data set's own lists and a recipe that names the subjects are taken at their word.
    """
    if job.recipe.data.subject is not None or contents.known_by == "list" or contents.layout == "dicom":
        return
    pairs = splits.names_on_both_sides(splits.read(job.work.ingest / "splits.csv"))
    if not pairs:
        return
    shown = some([f"{one} and {other}" for one, other in pairs])
    details = f"{len(pairs)} pairs of cases look like one subject's but are on different sides: {shown}"
    how_to_fix = "name the subjects by data.subject, {subject} in the patterns, or a table"
    if job.strict:
        raise MedsegError(Code.SUBJECT_ON_BOTH_SIDES, "splits", details, how_to_fix)
    job.say.line(f"  warning: {Code.SUBJECT_ON_BOTH_SIDES}: {details}; {how_to_fix}")


def data_folder(recipe: Recipe) -> Path:
    """The recipe's data folder, or PATH_MISSING."""
    path = recipe.data.path
    if path is None or not path.is_dir():
        what = "no data folder is named" if path is None else files.why_no_folder(path)
        where = "data.path" if path is None or recipe.data.layout == "dicom" else path
        raise MedsegError(Code.PATH_MISSING, where, what, "name it with --data FOLDER")
    return path


def _paths(case: CaseFiles) -> list[Path]:
    labels = (path for label in case.label_paths for path in mask_files.files_of(label))
    return [p for p in (*case.channels.values(), *labels) if p.exists()]


@dataclass(frozen=True)
class Asked:
    """All that decides how a case is checked but its files."""

    classes: ClassList
    unit: scans.Unit
    preprocess: Preprocess
    instances: bool


def _read_all(
    job: Job, contents: FolderContents
) -> tuple[list[CaseFiles], list[dict[str, Any]], list[quarantine.Row]]:
    """Usable cases, their rows of cases.csv, and rows of quarantine.csv, in the order of the cases.

    Raises WORKER_KILLED or TIME_LIMIT after all others where an engine lost a case: without it a training
    would be another one.
    """
    classes, root = job.recipe.data.class_list(), job.recipe.data.path
    rows: dict[str, dict[str, Any] | Finding] = dict(palettes.faults_by_case(contents.cases, classes))
    tasks = [paths for paths in contents.cases if paths.name not in rows]
    with job.say.progress("reading", len(tasks)) as bar:
        threads = 1 if contents.layout == "dicom" else _threads(tasks)  # series use processes of their own
        asked = Asked(classes, contents.unit, job.recipe.preprocess, job.recipe.data.instances)
        read = _outcomes(job.execution, threads, tasks, asked)
        for done, (number, row) in enumerate(read, 1):
            rows[tasks[number].name] = row
            bar.to(done, tasks[number].name)
    in_order = [(paths, rows[paths.name]) for paths in contents.cases]
    findings = [(paths, row) for paths, row in in_order if isinstance(row, Finding)]
    if gone := [finding for _, finding in findings if finding.code in lost.CODES]:
        raise lost.refusal("ingest", gone)
    usable = [(paths, row) for paths, row in in_order if not isinstance(row, Finding)]
    excluded = [quarantine.row(paths.name, finding, root=root) for paths, finding in findings]
    return [paths for paths, _ in usable], [row for _, row in usable], excluded


def _outcomes(
    engine: Execution, threads: int, tasks: Sequence[CaseFiles], asked: Asked
) -> Iterator[tuple[int, dict[str, Any] | Finding]]:
    """Yield (number, row or reason to exclude it) of every case; in this process by ``threads``.

    Decompression and numpy, which take the time, leave the interpreter to other threads.
    """
    if engine.workers or engine.executor == "dask":
        yield from engine.carry_out(tasks, work(asked))
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from enumerate(pool.map(partial(_read_one, asked), tasks))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _threads(tasks: Sequence[CaseFiles]) -> int:
    """As many threads as processors, but fewer where that many large cases may not fit into memory."""
    threads, memory = min(MOST_THREADS, most_threads()), machine_memory()
    if memory is None:
        return threads
    largest = max((sum(path.stat().st_size for path in _paths(case)) for case in tasks), default=1)
    return max(1, min(threads, int(memory * PART_OF_MEMORY / (largest * MEMORY_PER_BYTE))))


def work(asked: Asked) -> Work[CaseFiles, dict[str, Any] | Finding]:
    """The unit of work, for an engine."""
    return Work(partial(make, asked), lambda paths, finding: lost.of_case(paths.name, finding))


def make(asked: Asked) -> Steps[CaseFiles, dict[str, Any] | Finding]:
    """Make the steps in a process: a case is read and checked at once, and nothing is written."""
    return Steps(partial(_read_one, asked), _unchanged, _unchanged)


def _unchanged(row: dict[str, Any] | Finding) -> dict[str, Any] | Finding:
    return row


def _read_one(asked: Asked, paths: CaseFiles) -> dict[str, Any] | Finding:
    """Make a case's row of cases.csv, or say why it is excluded."""
    scaling = asked.preprocess
    case, findings = checks.read_case(paths, asked.classes, intensity=scaling.intensity, n4=scaling.n4)
    if case is None:
        return refusal(findings).finding
    grid = case.image.grid
    if grid.unit != asked.unit:
        details = f"a grid in {grid.unit} where the others are in {asked.unit}"
        path = str(next(iter(paths.channels.values())))
        return Finding(Code.UNIT_MISMATCH, path, details, "use scans and images in recipes of their own")
    if asked.instances and paths.label is not None and not paths.label.is_dir():  # masks are checked above
        try:
            instances.read(paths.label, asked.classes, grid)
        except MedsegError as error:
            return error.finding
    return {
        "case": paths.name,
        "subject": paths.subject,
        "labelled": "yes" if case.label is not None else "no",
        "channels": json.dumps({k: str(v) for k, v in paths.channels.items()}),
        "label": label_cell(paths),
        "shape": " ".join(map(str, grid.shape)),
        "spacing": " ".join(f"{s:.6g}" for s in grid.spacing),
        "unit": grid.unit,
        "notes": " ".join(sorted({str(f.code) for f in findings})),
    }


def _must_add_up(
    root: Path,
    without: Path,
    contents: FolderContents,
    cases: Sequence[dict[str, Any]],
    excluded: Sequence[quarantine.Row],
) -> None:
    """Hold the rows against the folder itself: each of its scans is in a case, a stray, ignored or not read.

    And each case and each stray has become one row.
    """
    unlisted = [] if contents.layout == "dicom" else _unlisted_files(root, without, contents)
    inputs = sorted([c.name for c in contents.cases] + [s.case for s in contents.strays])
    rows = sorted(row["case"] for row in (*cases, *excluded))
    if unlisted or inputs != rows:
        details = (
            f"{len(unlisted)} scans in no row{': ' if unlisted else ''}{some([str(p) for p in unlisted])}"
        )
        details += f"; {len(inputs)} inputs, {len(cases)} usable + {len(excluded)} excluded"
        raise MedsegError(Code.DOES_NOT_ADD_UP, "ingest", details, "please report this with medseg.log")


def _unlisted_files(root: Path, without: Path, contents: FolderContents) -> list[Path]:
    tree = sorted_tree(root, files_under(root, without), contents.unit)
    known = contents.files()
    paths = (root / path for path in (*tree.files, *tree.unread))
    return sorted(path for path in paths if path not in known and path.parent not in known)


def split(
    recipe: Recipe, contents: FolderContents, usable: Sequence[CaseFiles], excluded: Sequence[quarantine.Row]
) -> Splits:
    """The splits; where they fail, the cases that were excluded are named with their codes."""
    rule, labels = recipe.data.splits, {"needs_labels": not recipe.reconstructs}
    names = [row["case"] for row in excluded]
    try:
        if isinstance(rule, RandomSplit):
            return splits.random_folds(
                usable, folds=rule.folds, val_share=rule.val, test_share=rule.test, seed=rule.seed, **labels
            )
        if rule == "all":
            return splits.all_trained(usable, **labels)
        if rule == "listed":
            return splits.listed(usable, contents.roles, excluded=names, **labels)
        return splits.given(usable, [fold.model_dump() for fold in rule], excluded=names, **labels)
    except MedsegError as error:
        if not excluded:
            raise
        f, named = error.finding, some([f"{row['case']} ({row['code']})" for row in excluded])
        raise MedsegError(f.code, f.where, f"{f.details}; excluded: {named}", f.how_to_fix) from error


def _check_result_names(job: Job, all_splits: Splits, unit: scans.Unit) -> None:
    """Raise DUPLICATE_CASE, before anything is trained, where two cases' predictions would share a file."""
    data, wanted = job.recipe.data, job.recipe.predict.roles
    folds: dict[int, dict[Path, str]] = {}
    for row in all_splits.rows:
        if row.role in wanted:
            label = results.label_map(job.work.fold_predictions(row.fold, data.n_folds()), row.case, unit)
            folds.setdefault(row.fold, {})[label] = row.case
    for labels in folds.values():
        results.require_own_files(labels, data.class_list().masks)


def _say_unused(job: Job, all_splits: Splits) -> None:
    usable = "" if job.recipe.reconstructs else "labelled "
    groups = {
        "named by the splits but excluded": all_splits.excluded,
        "named by the splits but without label": all_splits.unlabelled,
        f"{usable}cases in no role": all_splits.left_out,
    }
    for what, names in groups.items():
        if names:
            job.say.line(f"  {what}: {some(names)}")
    if job.recipe.data.splits == "all":
        job.say.line(
            f"  data.splits is all: every {usable}case is trained on, none is left to validate or test"
        )


def _dataset(
    recipe: Recipe,
    root: Path,
    contents: FolderContents,
    cases: Sequence[dict[str, Any]],
    excluded: Sequence[quarantine.Row],
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "root": "" if contents.layout == "dicom" else str(root),  # an export's path may name a patient
        "layout": contents.layout,
        "channels": list(json.loads(cases[0]["channels"])),
        "patterns": {
            "channels": dict(contents.patterns.channels),
            "label": contents.patterns.label,
            "masks": dict(contents.patterns.masks),
            "ignore": list(recipe.data.ignore),
            "layout": "bids" if contents.layout == "bids" else "patterns",
        },
        "unit": contents.unit,
        "classes": recipe.data.class_list().to_json(),
        "usable": len(cases),
        "labelled": sum(c["labelled"] == "yes" for c in cases),
        "excluded": len(excluded),
        "ignored": contents.ignored_below(root),
        "unread": [path.relative_to(root).as_posix() for path in contents.unread],
    }


def _say(job: Job, contents: FolderContents, root: Path) -> None:
    cases = files.read_csv(job.work.ingest / "cases.csv")
    excluded = files.read_csv(job.work.ingest / "quarantine.csv")
    labelled = sum(c["labelled"] == "yes" for c in cases)
    job.say.line(f"  {len(cases)} cases usable ({labelled} labelled), {len(excluded)} excluded")
    for line in quarantine.lines(excluded):
        job.say.line(f"  {line}")
    for line in leftovers.leftover_lines(contents, root, job.recipe.data.ignore):
        job.say.line(f"  {line}")
