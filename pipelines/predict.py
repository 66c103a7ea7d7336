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
from medseg.infer import modelfolder
from medseg.infer.modelfolder import Model
from medseg.infer.segment import segment_file, write_label_names
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.splits import SplitRow
from pipelines.device import choose
from pipelines.ingested import case_files, cases, roles
from pipelines.stage import Job

VERSION = 1


@dataclass(frozen=True)
class Task:
    """One case to predict, and the members that do it; a test case's were not trained on it."""

    case: CaseFiles
    members: tuple[str, ...]
    out: Path


def run(job: Job) -> None:
    """Predict test cases with their fold's member, unlabelled ones with all members."""
    job.needs(job.work.model / "model.json", "train")
    tasks = plan(job)
    model = files.read_json(job.work.model / "model.json")
    settings = job.recipe.predict.model_dump(mode="json")
    hashes = {m["name"]: m["sha256"] for m in model["members"]}
    keys = {str(t.out): _key(t, model["description"], hashes, settings) for t in tasks}
    with job.stage("predict", VERSION, keys, [t.out for t in tasks]) as must_run:
        if must_run:
            _predict_all(job, tasks, keys)
            _remove_stale(job.work.predictions, tasks)


def plan(job: Job) -> list[Task]:
    """What is predicted by whom, by `predict.roles`."""
    by_name = cases(job.work.ingest)
    trained = _trained_folds(job)
    wanted = job.recipe.predict.roles
    tasks = []
    for role in roles(job.work.ingest):
        if role.fold not in trained or role.role not in wanted or role.role == "unlabelled":
            continue
        out = job.work.fold_predictions(role.fold, len(trained)) / f"{role.case}.nii.gz"
        tasks.append(Task(case_files(by_name[role.case]), (f"fold{role.fold}",), out))
    if "unlabelled" not in wanted:
        return tasks
    members = tuple(f"fold{k}" for k in trained)
    return tasks + [
        Task(case_files(by_name[name]), members, job.work.predictions / f"{name}.nii.gz")
        for name in _unlabelled(roles(job.work.ingest))
    ]


def _trained_folds(job: Job) -> list[int]:
    members = files.read_json(job.work.model / "model.json")["members"]
    return sorted(int(m["name"].removeprefix("fold")) for m in members)


def _unlabelled(rows: Sequence[SplitRow]) -> list[str]:
    return list(dict.fromkeys(r.case for r in rows if r.role == "unlabelled"))


def _key(task: Task, description: Any, hashes: dict[str, str], settings: Any) -> str:
    used = {
        "version": VERSION,
        "files": {k: files.stamp(p) for k, p in task.case.channels.items()},
        "members": [hashes[m] for m in task.members],
        "description": {k: v for k, v in description.items() if k != "trained"},
        "settings": settings,
    }
    return files.sha256_of_value(used)


def _predict_all(job: Job, tasks: Sequence[Task], keys: dict[str, str]) -> None:
    models: dict[tuple[str, ...], Model] = {}
    device = choose(job.recipe.train.device)
    with job.say.progress("predicting", len(tasks)) as bar:
        for n, task in enumerate(tasks, 1):
            if not _is_done(task, keys[str(task.out)]):
                if task.members not in models:
                    models[task.members] = modelfolder.load(job.work.model, device, members=task.members)
                _predict(job, task, models[task.members], keys[str(task.out)])
            bar.to(n, task.case.name)


def _is_done(task: Task, key: str) -> bool:
    about = _about(task)
    if not (about.is_file() and task.out.is_file()):
        return False
    told = files.read_json(about)
    return bool(told["made_from"] == key and told["sha256"] == files.sha256(task.out))


def _predict(job: Job, task: Task, model: Model, key: str) -> None:
    made = segment_file(task.case.channels, model, task.out, margin=job.recipe.predict.margin_map)
    write_label_names(task.out.parent, model.description.class_list())
    told = {"case": task.case.name, **made.to_json(), "members": list(task.members), "made_from": key}
    files.write_json(_about(task), {**told, "sha256": files.sha256(task.out)})
    seconds = sum(made.seconds.values())
    job.say.detail(f"  {task.case.name}: {seconds:.1f} s, quality {made.quality:.3f}")


def _about(task: Task) -> Path:
    return task.out.with_name(f"{task.case.name}.json")


def _remove_stale(folder: Path, tasks: Sequence[Task]) -> None:
    """Delete what an earlier plan left: another number of folds, cases that are gone."""
    current = {t.out for t in tasks}
    for path in folder.rglob("*.nii.gz"):
        owner = path.with_name(path.name.replace("_margin.nii.gz", ".nii.gz"))
        if path not in current and owner not in current:
            path.unlink()
            path.with_name(path.name.removesuffix(".nii.gz") + ".json").unlink(missing_ok=True)
    for sub in folder.glob("fold*"):
        if not any(sub.glob("*.nii.gz")):
            shutil.rmtree(sub)
