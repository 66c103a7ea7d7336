"""Predict: label maps of the cases whose role is asked for, each on its scan's own grid.

The way of one scan is that of `medseg segment`: the stage and the command give the same label map.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.device import choose
from medseg.infer import loading, results
from medseg.infer.loading import Model
from medseg.infer.segment import segment_file, write_label_names
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.splits import SplitRow
from medseg.model import folder as model_folder
from medseg.model.description import ModelFile
from medseg.resources import coded_out_of_memory
from pipelines.case_tables import case_files, cases, roles
from pipelines.job import Job
from pipelines.workfolder import fold_of

VERSION = 1


@dataclass(frozen=True)
class Task:
    """One case to predict, and the members that do it; a test case's were not trained on it."""

    case: CaseFiles
    members: tuple[str, ...]
    out: Path


def run(job: Job) -> None:
    """Predict test cases with their fold's member, or members a plane, unlabelled ones with all members."""
    model = model_folder.read(job.work.model)
    tasks = plan(job, model)
    settings = job.recipe.predict.used()
    keys = {_place(job, t): _key(t, model, settings) for t in tasks}
    table = job.work.predictions / "volumes.csv"
    classes = model.description.class_list()
    made = [path for t in tasks for path in results.label_files(t.out, classes.masks)]
    with job.stage("predict", VERSION, keys, [*made, table]) as must_run:
        if must_run:
            rows = _predict_all(job, tasks, keys)
            _remove_stale(job.work.predictions, tasks, classes)
            names = results.table_columns(classes, results.SIZE_UNITS[model.description.unit])
            files.write_csv(table, [*names, "members"], rows)


def plan(job: Job, model: ModelFile) -> list[Task]:
    """What is predicted by whom, by `predict.roles`."""
    by_name = cases(job.work.ingest)
    members = tuple(m.name for m in model.members)
    trained = {fold_of(name) for name in members}
    wanted = job.recipe.predict.roles
    tasks = []
    for role in roles(job.work.ingest):
        if role.fold not in trained or role.role not in wanted or role.role == "unlabelled":
            continue
        row, folder = by_name[role.case], job.work.fold_predictions(role.fold, len(trained))
        out = results.label_map(folder, role.case, row["unit"])
        tasks.append(Task(case_files(row), tuple(m for m in members if fold_of(m) == role.fold), out))
    if "unlabelled" not in wanted:
        return tasks
    for name in _unlabelled(roles(job.work.ingest)):
        row = by_name[name]
        out = results.label_map(job.work.predictions, name, row["unit"])
        tasks.append(Task(case_files(row), members, out))
    return tasks


def _unlabelled(rows: Sequence[SplitRow]) -> list[str]:
    return list(dict.fromkeys(r.case for r in rows if r.role == "unlabelled"))


def _place(job: Job, task: Task) -> str:
    """A label map's path below the predictions, the same wherever the work folder is copied to."""
    return str(task.out.relative_to(job.work.predictions))


def _key(task: Task, model: ModelFile, settings: Any) -> str:
    hashes = {m.name: m.sha256 for m in model.members}
    used = {
        "version": VERSION,
        "files": {k: files.stamp(p) for k, p in task.case.channels.items()},
        "members": [hashes[m] for m in task.members],
        "description": model.description.model_dump(mode="json", exclude={"trained"}, exclude_unset=True),
        "settings": settings,
    }
    return files.sha256_of_value(used)


def _predict_all(job: Job, tasks: Sequence[Task], keys: dict[str, str]) -> list[dict[str, Any]]:
    """Predict what is not done yet; a row of volumes.csv a task."""
    rows = []
    models: dict[tuple[str, ...], Model] = {}
    confidence, masks = job.recipe.predict.confidence_map, job.recipe.data.class_list().masks
    device = choose(job.recipe.train.device)
    with job.say.progress("predicting", len(tasks)) as bar:
        for n, task in enumerate(tasks, 1):
            key = keys[_place(job, task)]
            told = results.cached_metadata(task.out, key, confidence=confidence, masks=masks)
            if told is None:
                if task.members not in models:
                    models[task.members] = loading.load(job.work.model, device, members=task.members)
                told = _predict(job, task, models[task.members], key)
            rows.append(_row(task, told, job))
            bar.to(n, task.case.name)
    return rows


def _predict(job: Job, task: Task, model: Model, key: str) -> dict[str, Any]:
    with coded_out_of_memory(task.case.name, "lower predict.batch, or take train.device cpu"):
        made = segment_file(task.case.channels, model, task.out, confidence=job.recipe.predict.confidence_map)
    classes = model.description.class_list()
    write_label_names(task.out.parent, classes)
    told = {"case": task.case.name, **made.to_json(), "members": list(task.members)}
    results.write_metadata(task.out, told, key, classes.masks)
    seconds = sum(made.seconds.values())
    job.say.detail(f"  {task.case.name}: {seconds:.1f} s, quality {made.quality:.3f}")
    return told


def _row(task: Task, told: dict[str, Any], job: Job) -> dict[str, Any]:
    """The row that `medseg segment` would write in its summary, and who predicted the case."""
    status = "done with note" if told["notes"] else "done"
    scan, classes = next(iter(task.case.channels.values())), job.recipe.data.class_list()
    row = results.table_row(task.case.name, scan, status, told, None, classes)
    return {**row, "members": " ".join(task.members)}


def _remove_stale(folder: Path, tasks: Sequence[Task], classes: ClassList) -> None:
    """Delete what an earlier plan left: another number of folds, cases that are gone, other masks.

    What is told of a result goes first, so that no half of it counts as done.
    """
    kept = {path for t in tasks for path in results.files_of(t.out, classes.masks)}
    for path in (*folder.rglob("*.json"), *results.maps(folder)):
        if path not in kept and path.name not in results.NOT_CASES:
            path.unlink()
    for sub in folder.glob("fold*"):
        if not results.maps(sub):
            shutil.rmtree(sub)
