"""Weights that a training keeps at chosen steps (`train.keep_at`): their model folders and their scores."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg import device, files
from medseg.grid import Plane
from medseg.infer import batch, loading, results
from medseg.metrics import summary
from medseg.model import folder as model_folder
from medseg.model import pruning
from medseg.model.description import Description
from medseg.train import state
from pipelines import case_tables, scoring
from pipelines.execution import lost
from pipelines.fold.fold import FoldTraining
from pipelines.fold.prediction import Asked, Unit, work
from pipelines.job import Job
from pipelines.scored_case import Reference
from pipelines.scoring import predicted_files
from pipelines.tracked_scores import headlines as headlines_of
from pipelines.workfolder import Work, fold_of

SCORES = "steps.json"
"""In the folder of evaluations: step → the content of summary.json."""

_OF_SCANS = {"dice": "Dice", "hd95": "HD95 (mm)", "nsd": "NSD"}


def export(
    job: Job, trainings: Sequence[FoldTraining], description: Description, planes: Mapping[str, Plane]
) -> None:
    """Write a model folder for each step that was kept, of the folds that reached it; remove all others."""
    shutil.rmtree(job.work.kept, ignore_errors=True)
    for step in job.recipe.train.keep_at:
        paths = {t.member: t.folder / state.kept_name(step) for t in trainings}
        members = {name: state.read_network(path) for name, path in paths.items() if path.is_file()}
        if not members:
            job.say.line(f"  no training came to step {step} of train.keep_at")
            continue
        trained = {name: {**description.trained.get(name, {}), "steps": step} for name in members}
        of_step = description.model_copy(update={"trained": trained})
        if level := job.recipe.predict.level:
            of_step, members = pruning.pruned(of_step, members, level)
        along = {name: plane for name, plane in planes.items() if name in members}
        model_folder.export(job.work.kept_step(step).model, members, of_step, along)


def steps(job: Job) -> dict[int, Work]:
    """List the steps whose weights were kept, each with its folder."""
    by_step = {step: job.work.kept_step(step) for step in job.recipe.train.keep_at}
    return {step: place for step, place in by_step.items() if (place.model / "model.json").is_file()}


def used(job: Job) -> dict[str, Any]:
    """Give what the scores depend on: the models of the steps; nothing where none was kept."""
    models = {str(step): loading.identity(place.model) for step, place in steps(job).items()}
    return {"kept": models} if models else {}


def files_of(job: Job) -> tuple[str, ...]:
    """Name the files that :func:`score` writes to the folder of evaluations."""
    return (SCORES,) if steps(job) else ()


def score(job: Job, listed: Sequence[Reference]) -> None:
    """Label the listed cases with the weights of each kept step, and write the scores of all steps."""
    path, scores = job.work.evaluation / SCORES, {}
    for step, place in steps(job).items():
        predicted = _predict(job, step, place, listed)
        settings, classes = job.recipe.evaluate, job.recipe.data.class_list()
        with job.say.progress(f"scoring step {step}", len(predicted)) as bar:
            scored = scoring.score(
                predicted,
                classes,
                nsd_tolerance=settings.nsd_tolerance,
                bf_tolerance=settings.bf_tolerance,
                progress=bar.to,
                execution=job.execution,
            )
        scores[str(step)] = summary.summarise(
            scored.rows,
            scored.matrices,
            costs=(settings.cost_fp, settings.cost_fn),
            background=classes.background,
            names=classes.names,
        )
    path.unlink(missing_ok=True)
    if scores:
        files.write_json(path, scores)


def _predict(job: Job, step: int, place: Work, listed: Sequence[Reference]) -> list[Reference]:
    """Label the cases as the predict stage does, each by its fold's members; give the references to score."""
    model = model_folder.read(place.model)
    identity, by_name = loading.identity(place.model), case_tables.cases(job.work.ingest)
    unit, folds = model.description.unit, {fold_of(member.name) for member in model.members}
    units: list[Unit] = []
    references: list[Reference] = []
    for reference in listed:
        fold, case = reference.entry.fold, reference.entry.case
        members = tuple(m.name for m in model.members if fold_of(m.name) == fold)
        if not members:
            continue
        label = results.label_map(place.fold_predictions(fold, len(folds)), case, unit)
        task = batch.Task(case, case_tables.case_files(by_name[case]).channels, label, {"step": step})
        stamps = {k: files.stamp(p) for k, p in task.channels.items() if isinstance(p, Path)}
        key = files.sha256_of_value([batch.version(model.description), identity, members, stamps])
        units.append(Unit(task, members, key))
        references.append(reference)
    asked = Asked(
        place.model,
        identity,
        job.recipe.train.device,
        batch.Settings(None, accept_domain=True),
        job.execution.threads(device.threads()),
    )
    with job.say.progress(f"predicting by step {step}", len(units)) as bar:
        for done, (_, outcome) in enumerate(job.execution.carry_out(units, work(asked)), 1):
            if outcome.finding is not None:
                raise lost.refusal("evaluate", [outcome.finding])
            bar.to(done)
    masks = model.description.class_list().masks
    pairs = zip(references, units, strict=True)
    return [replace(r, prediction=predicted_files(u.task.label, masks)) for r, u in pairs]


def read_scores(work_folder: Work) -> dict[int, dict[str, Any]]:
    """Read the summaries of a work folder's kept steps, by step; empty where there are none."""
    path = work_folder.evaluation / SCORES
    return {int(step): numbers for step, numbers in files.read_json(path).items()} if path.is_file() else {}


def headlines(job: Job) -> dict[int, dict[str, float]]:
    """Choose the numbers of each step to log, named as those of the best weights with `kept/` before."""
    return {
        step: {f"kept/{name}": value for name, value in headlines_of(numbers).items()}
        for step, numbers in _scores(job).items()
    }


def in_words(job: Job) -> Iterator[str]:
    """Say the scores of each step in a line for each set."""
    for row in table(job):
        step, role, *_ = row.values()
        figures = ", ".join(f"{name} {value}" for name, value in list(row.items())[2:])
        yield f"  step {step}, {role}: {figures}"


def table(job: Job) -> list[dict[str, str]]:
    """Give a row for each step and set: step, set, and the few numbers that tables of papers print."""
    return [
        {"step": f"{step:,}", "set": role, **_figures(of_set)}
        for step, numbers in _scores(job).items()
        for role, of_set in numbers["sets"].items()
    ]


def _scores(job: Job) -> dict[int, dict[str, Any]]:
    return read_scores(job.work) if files_of(job) else {}


def _figures(of_set: Mapping[str, Any]) -> dict[str, str]:
    if of_set["length_unit"] == "px":
        shown = {key: of_set["over_set"].get(key) for key in ("G", "C", "mIoU", "BF")}
    else:
        shown = {name: of_set["over_classes"][key]["mean"] for key, name in _OF_SCANS.items()}
    return {name: "–" if value is None else f"{value:.4f}" for name, value in shown.items()}
