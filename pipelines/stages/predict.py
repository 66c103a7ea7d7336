"""Predict: label maps of the cases whose role is asked for, in each scan's native space.

Each case goes the way of `medseg segment`: the stage and the command give the same label map.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import device, files
from medseg.classes import ClassList
from medseg.infer import batch, loading, results
from medseg.model import folder as model_folder
from medseg.model.description import ModelFile
from pipelines.case_tables import case_files, cases, roles
from pipelines.execution import lost
from pipelines.fold import earlier
from pipelines.fold.prediction import Asked, Unit, work
from pipelines.job import Job
from pipelines.workfolder import Work as WorkFolder
from pipelines.workfolder import fold_of

VERSION = 2

LESS_MEMORY = "lower predict.batch or --workers, or set train.device to cpu"

_NOT_PREDICTED_BY = {"trained", "series"}
"""Parts of a model's description that change no prediction of a case."""


@dataclass(frozen=True)
class Prediction:
    """One case to predict, and the members that do it; a test case's were not trained on it."""

    task: batch.Task
    members: tuple[str, ...]
    is_scored: bool
    """True if evaluation counts the case."""


def run(job: Job) -> None:
    """Predict test cases by their fold's members, and unlabelled cases by all members together."""
    model = model_folder.read(job.work.model)
    classes, settings = model.description.class_list(), job.recipe.predict.used()
    predictions = plan(job, model)
    keys = {_place(job, p): _key(p, model, settings) for p in predictions}
    table = job.work.predictions / "volumes.csv"
    label_files = [path for p in predictions for path in results.label_files(p.task.label, classes.masks)]
    confidence = job.recipe.predict.confidence_map
    lost = [  # a damaged result is made again, and no other
        _place(job, p)
        for p in predictions
        if not results.cached_metadata(
            p.task.label, keys[_place(job, p)], confidence=confidence, masks=classes.masks
        )
    ]
    with job.stage("predict", VERSION, keys, [*label_files, table], lost) as must_run:
        if must_run:
            rows = _predict_all(job, predictions, keys, classes)
            _remove_stale(job, predictions, model)
            columns = results.table_columns(
                classes,
                results.SIZE_UNITS[model.description.unit],
                calibrated=model.description.calibration is not None,
            )
            files.write_csv(table, [*columns, "members"], rows)


def plan(job: Job, model: ModelFile) -> list[Prediction]:
    """List what is predicted, and by which members, by `predict.roles`.

    Raises DUPLICATE_CASE; SETTINGS_CHANGED where a test case is one of those that its fold was trained with.
    """
    earlier.require_unseen(job.work, roles(job.work.ingest))
    by_name = cases(job.work.ingest)
    members = tuple(m.name for m in model.members)
    folds = {fold_of(name) for name in members}
    wanted = job.recipe.predict.roles
    predictions = []
    for role in roles(job.work.ingest):
        if role.fold in folds and role.role in wanted and role.role != "unlabelled":
            folder = job.work.fold_predictions(role.fold, len(folds))
            of_fold = tuple(m for m in members if fold_of(m) == role.fold)
            predictions.append(_prediction(by_name[role.case], folder, of_fold))
    if "unlabelled" in wanted:
        unlabelled = dict.fromkeys(r.case for r in roles(job.work.ingest) if r.role == "unlabelled")
        predictions += [_prediction(by_name[name], job.work.predictions, members) for name in unlabelled]
    labels = {p.task.label: p.task.case for p in predictions}
    results.require_own_files(labels, model.description.class_list().masks)
    return predictions


def _prediction(row: dict[str, str], folder: Path, members: tuple[str, ...]) -> Prediction:
    case, name = case_files(row), row["case"]
    label = results.label_map(folder, name, row["unit"])
    case_info = {"case": name, "members": list(members)}
    return Prediction(batch.Task(name, case.channels, label, case_info), members, bool(row["label"]))


def _place(job: Job, prediction: Prediction) -> str:
    """A label map's path below the predictions, the same wherever the work folder is copied to."""
    return str(prediction.task.label.relative_to(job.work.predictions))


def _key(prediction: Prediction, model: ModelFile, settings: Any) -> str:
    hashes = {m.name: m.sha256 for m in model.members}
    used = {
        "version": [VERSION, batch.version(model.description)],
        "files": {k: files.stamp(p) for k, p in prediction.task.channels.items() if isinstance(p, Path)},
        "members": [hashes[m] for m in prediction.members],
        "description": model.description.model_dump(
            mode="json", exclude=_NOT_PREDICTED_BY, exclude_unset=True
        ),
        "settings": settings,
    }
    return files.sha256_of_value(used)


def _predict_all(
    job: Job, predictions: Sequence[Prediction], keys: dict[str, str], classes: ClassList
) -> list[dict[str, Any]]:
    """Predict what is not done yet; give the rows of volumes.csv.

    A case whose worker was lost has the status `excluded` where it has no reference. One that is scored ends
    the stage after all others: it would count as a case that the network did not see.
    """
    units = [Unit(p.task, p.members, keys[_place(job, p)]) for p in predictions]
    asked = Asked(
        job.work.model,
        loading.identity(job.work.model),
        job.recipe.train.device,
        batch.Settings(
            None,
            job.recipe.predict.confidence_map,
            accept_domain=True,
            less_memory=LESS_MEMORY,
            probabilities=job.recipe.predict.probabilities,
        ),
        job.execution.threads(device.threads()),
    )
    outcomes: dict[int, batch.Outcome] = {}
    needed = []
    for folder in {p.task.label.parent for p in predictions}:
        results.write_label_names(folder, classes)
    with job.say.progress("predicting", len(predictions)) as bar:
        for number, outcome in job.execution.carry_out(units, work(asked)):
            outcomes[number] = outcome
            _say(job, units[number].task, outcome)
            if outcome.finding is not None and predictions[number].is_scored:
                needed.append(outcome.finding)
            bar.to(len(outcomes), units[number].task.case)
    if needed:
        raise lost.refusal("predict", needed)
    unit = results.SIZE_UNITS[model_folder.read(job.work.model).description.unit]
    return [_row(p, outcomes[number], classes, unit) for number, p in enumerate(predictions)]


def _say(job: Job, task: batch.Task, outcome: batch.Outcome) -> None:
    if outcome.finding is not None:
        job.say.line(f"  {outcome.finding}")
        return
    seconds, quality = sum(outcome.metadata["seconds"].values()), outcome.metadata["quality"]
    job.say.detail(f"  {outcome.status}: {task.case}, {seconds:.1f} s, quality {quality:.3f}")


def is_incomplete(work_folder: WorkFolder) -> bool:
    """True if the table of volumes has a case that was excluded."""
    table = work_folder.predictions / "volumes.csv"
    return table.is_file() and any(row["status"] == "excluded" for row in files.read_csv(table))


def _row(
    prediction: Prediction, outcome: batch.Outcome, classes: ClassList, size_unit: str
) -> dict[str, Any]:
    """The row that `medseg segment` would write in its summary, and the members that predicted the case."""
    task, finding = prediction.task, outcome.finding
    metadata: Mapping[str, Any] = outcome.metadata if finding is None else {"size_unit": size_unit}
    status = "excluded" if finding else "done with note" if metadata["notes"] else "done"
    row = results.table_row(task.case, task.file, status, metadata, finding, classes)
    return {**row, "members": " ".join(prediction.members)}


def _remove_stale(job: Job, predictions: Sequence[Prediction], model: ModelFile) -> None:
    """Delete what an earlier plan left: another number of folds, cases that are gone, other masks.

    Results of cases that ingest excluded this time are kept: a scan that cannot be read now says nothing
    about the label map that was made of it.
    """
    folder, masks = job.work.predictions, model.description.class_list().masks
    excluded = {row["case"] for row in files.read_csv(job.work.ingest / "quarantine.csv")} - {""}
    folders = [folder, *(path for path in folder.glob("fold*") if path.is_dir())]
    labels = [p.task.label for p in predictions]
    labels += [
        results.label_map(sub, name, model.description.unit) for sub in folders for name in sorted(excluded)
    ]
    kept = {path for label in labels for path in results.files_of(label, masks)}
    # The JSON of a result goes before its label map, so that no half of it counts as done.
    for path in (*results.metadata_files(folder), *results.maps(folder)):
        if path not in kept:
            path.unlink()
    for sub in folders[1:]:
        if not results.maps(sub):
            shutil.rmtree(sub)
