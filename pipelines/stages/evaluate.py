"""Evaluate: score every labelled case whose role is predicted on its own grid; a missing one counts 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.infer import results
from medseg.metrics.folder_pairs import LabelFiles
from medseg.metrics.table import Entry
from medseg.model.description import InstanceSettings
from pipelines import scoring, tracked_scores
from pipelines.case_tables import case_files, cases, label_form, label_stamps, roles, unit
from pipelines.execution import lost
from pipelines.fold import kept_steps
from pipelines.job import Job
from pipelines.scored_case import Reference
from pipelines.scoring import predicted_files
from pipelines.tracked_data import data_set
from pipelines.workfolder import fold_of

VERSION = 5
_FILES = ("scores.csv", "summary.json", "confusion.csv", "quarantine.csv")


def run(job: Job) -> None:
    """Score the predictions, summarise the scores, and log the means."""
    score(job, list(references(job)))


def score(job: Job, listed: list[Reference]) -> None:
    """Score the listed references as the stage does; also predictions that no network made."""
    classes = job.recipe.data.class_list()
    used: dict[str, Any] = {
        "evaluate": job.recipe.evaluate.model_dump(mode="json"),
        "classes": classes.to_json(),
        "references": [
            [r.entry.fold, r.entry.case, r.entry.role, _stamps(r), _content(r.prediction)] for r in listed
        ],
    }
    used |= label_form(job.recipe.data) | kept_steps.used(job)
    makes = [job.work.evaluation / name for name in (*_FILES, *kept_steps.files_of(job))]
    if (objects := _instances(job)) is not None:
        used["instances"] = objects.model_dump(mode="json")
        used["maps of objects"] = [_object_map(reference) for reference in listed]
        makes.append(job.work.evaluation / scoring.OBJECTS)
    with job.stage("evaluate", VERSION, used, makes) as must_run:
        if must_run:
            _score_all(job, listed)
            (job.work.evaluation / kept_steps.SCORES).unlink(missing_ok=True)
            if kept_steps.steps(job):
                from pipelines.fold import kept_weights  # here, as it imports torch

                kept_weights.score(job, listed)
    scoring.say(job.work.evaluation, job.say)
    for line in kept_steps.in_words(job):
        job.say.result(line)
    _log(job, listed, anew=must_run)


def _log(job: Job, listed: Sequence[Reference], *, anew: bool) -> None:
    """Log the scores with the run, those of each fold with its own, and the tables of all classes."""
    tracked, folder = job.tracked, job.work.evaluation
    numbers, data = files.read_json(folder / "summary.json"), data_set(job)
    rows = tracked_scores.read_rows(folder)
    folds = tracked_scores.by_fold(rows)
    errors = tracked_scores.calibration_errors(rows, _predicted(listed, unit(job.work.ingest)))
    for step, of_step in kept_steps.headlines(job).items():
        tracked.run.metrics(of_step, step)
    for name, error in errors.items():
        job.say.result(f"  {name.replace('_', ' ')}: {error:.4f}")
    means = {**tracked_scores.headlines(numbers), **tracked_scores.over_folds(folds), **errors}
    tracked.run.summary(means, data)
    tracked.describe(tracked_scores.in_words(numbers), tracked_scores.in_markdown(numbers))
    for path in tracked_scores.write_tables(numbers, job.work.report, anew=anew):
        tracked.run.artifact(path)
    if job.recipe.sampling.plane_networks != "separate":  # a fold's planes are scored together
        for fold, means in folds.items():
            tracked.fold_scores(fold, means)


def _predicted(listed: Sequence[Reference], of_unit: str) -> dict[tuple[int, str], dict[str, Any]]:
    """The JSON of each case's prediction, by fold and case; of those that have one."""
    predicted = {}
    for reference in listed:
        if (prediction := reference.prediction) is None:
            continue
        path = prediction if isinstance(prediction, Path) else next(iter(prediction.values()))
        label = results.label_map(path.parent, reference.entry.case, of_unit)
        if (metadata := results.metadata_path(label)).is_file():
            predicted[reference.entry.fold, reference.entry.case] = files.read_json(metadata)
    return predicted


def references(job: Job, folds: Sequence[int] | None = None) -> Iterator[Reference]:
    """Every labelled case with a role of `predict.roles`, in `folds` or in those that were trained."""
    by_name = cases(job.work.ingest)
    if folds is None:
        members = files.read_json(job.work.model / "model.json")["members"]
        folds = sorted({fold_of(m["name"]) for m in members})
    masks = job.recipe.data.class_list().masks
    for role in roles(job.work.ingest):
        row = by_name[role.case]
        if role.fold in folds and role.role in job.recipe.predict.roles and row["label"]:
            folder, case = job.work.fold_predictions(role.fold, len(folds)), case_files(row)
            entry = Entry(role.case, role.subject, role.fold, role.role)
            predicted = predicted_files(results.label_map(folder, role.case, row["unit"]), masks)
            if truth := case.masks or case.label:
                yield Reference(entry, truth, predicted)


def _stamps(reference: Reference) -> Any:
    """Stamps of the reference's label files; FILE_MISSING if one is gone."""
    try:
        return label_stamps(reference.truth)
    except FileNotFoundError as error:
        details, how_to_fix = "it was there at ingest", "put it back, or run `medseg ingest` again"
        raise MedsegError(Code.FILE_MISSING, error.filename, details, how_to_fix) from None


def _instances(job: Job) -> InstanceSettings | None:
    """The way in which predicted objects are told apart, None where they are not scored."""
    if not job.recipe.data.instances:
        return None
    return job.recipe.predict.instances or InstanceSettings()


def _object_map(reference: Reference) -> str:
    """The content of the map of objects beside a prediction, in a word."""
    if not isinstance(reference.prediction, Path):
        return "missing"
    path = results.instances_path(reference.prediction)
    return files.sha256(path) if path.is_file() else "missing"


def _content(prediction: LabelFiles | None) -> str:
    if prediction is None:
        return "missing"
    paths = [prediction] if isinstance(prediction, Path) else prediction.values()
    return " ".join(map(files.sha256, paths))


def _score_all(job: Job, listed: list[Reference]) -> None:
    classes, settings = job.recipe.data.class_list(), job.recipe.evaluate
    with job.say.progress("scoring", len(listed)) as bar:
        scored = scoring.score(
            listed,
            classes,
            nsd_tolerance=settings.nsd_tolerance,
            bf_tolerance=settings.bf_tolerance,
            progress=bar.to,
            execution=job.execution,
            instances=_instances(job),
        )
    if lost_ones := [finding for _, finding in scored.unscored if finding.code in lost.CODES]:
        raise lost.refusal("evaluate", lost_ones)
    for _, finding in scored.unscored:  # it was usable at ingest: something has happened to it since
        how_to_fix = f"{finding.how_to_fix}; or run `medseg ingest` again, which excludes the case"
        raise MedsegError(finding.code, finding.where, finding.details, how_to_fix)
    for _, finding in scored.notes:
        job.say.line(f"  note: {finding}")
    costs = (settings.cost_fp, settings.cost_fn)
    scoring.write(job.work.evaluation, scored, classes, costs=costs)
