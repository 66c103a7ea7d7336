"""Networks of the steps of `train.keep_at`: their model folders are written, and they are scored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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
from pipelines.fold.kept_steps import SCORES, steps
from pipelines.fold.prediction import Asked, Unit, work
from pipelines.job import Job
from pipelines.scored_case import Reference
from pipelines.scoring import predicted_files
from pipelines.workfolder import Work, fold_of


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
