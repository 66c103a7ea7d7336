"""Predict: label maps of the cases whose role is asked for, in each scan's native space.

Each case goes the way of `medseg segment`: the stage and the command give the same label map.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.device import choose
from medseg.infer import batch, loading, results
from medseg.infer.loading import Model
from medseg.model import folder as model_folder
from medseg.model.description import ModelFile
from pipelines.case_tables import case_files, cases, roles
from pipelines.fold import earlier
from pipelines.job import Job
from pipelines.workfolder import fold_of

VERSION = 2

LESS_MEMORY = "lower predict.batch, or set train.device to cpu"

_NOT_PREDICTED_BY = {"trained", "series"}
"""Parts of a model's description that change no prediction of a case."""


@dataclass(frozen=True)
class Prediction:
    """One case to predict, and the members that do it; a test case's were not trained on it."""

    task: batch.Task
    members: tuple[str, ...]


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
            columns = results.table_columns(classes, results.SIZE_UNITS[model.description.unit])
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
    return Prediction(batch.Task(name, case.channels, label, case_info), members)


def _place(job: Job, prediction: Prediction) -> str:
    """A label map's path below the predictions, the same wherever the work folder is copied to."""
    return str(prediction.task.label.relative_to(job.work.predictions))


def _key(prediction: Prediction, model: ModelFile, settings: Any) -> str:
    hashes = {m.name: m.sha256 for m in model.members}
    used = {
        "version": [VERSION, batch.VERSION],
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
    """Predict what is not done yet; give the rows of volumes.csv."""
    rows = []
    models: dict[tuple[str, ...], Model] = {}
    device = choose(job.recipe.train.device)
    confidence = job.recipe.predict.confidence_map
    settings = batch.Settings(None, confidence, accept_domain=True, less_memory=LESS_MEMORY)

    def load(members: tuple[str, ...]) -> Model:
        if members not in models:
            models[members] = loading.load(job.work.model, device, members=members)
        return models[members]

    for folder in {p.task.label.parent for p in predictions}:
        results.write_label_names(folder, classes)
    with job.say.progress("predicting", len(predictions)) as bar:
        for n, prediction in enumerate(predictions, 1):
            task, members = prediction.task, prediction.members
            key = keys[_place(job, prediction)]
            outcome = batch.run(task, key, classes.masks, partial(load, members), settings)
            rows.append(_row(prediction, outcome, classes))
            seconds = sum(outcome.metadata["seconds"].values())
            quality = outcome.metadata["quality"]
            job.say.detail(f"  {outcome.status}: {task.case}, {seconds:.1f} s, quality {quality:.3f}")
            bar.to(n, task.case)
    return rows


def _row(prediction: Prediction, outcome: batch.Outcome, classes: ClassList) -> dict[str, Any]:
    """The row that `medseg segment` would write in its summary, and the members that predicted the case."""
    status = "done with note" if outcome.metadata["notes"] else "done"
    task = prediction.task
    row = results.table_row(task.case, task.file, status, outcome.metadata, None, classes)
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
