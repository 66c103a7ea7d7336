"""Evaluate: every labelled case whose role is predicted is scored on its own grid; a missing one counts 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg import files
from medseg.evaluate import overlap, summary, table
from medseg.evaluate.table import Entry, ScoreRow
from medseg.infer import results
from medseg.ingest.patterns import CaseFiles
from medseg.volume import Array, ClassList
from pipelines.ingested import case_files, cases, label_form, label_stamps, roles
from pipelines.scores import OVER_SET, read_prediction, read_truth, summary_lines
from pipelines.stage import Job
from pipelines.tracked import MOST_CHARTED
from pipelines.workfolder import fold_of

VERSION = 3
BY_CLASS = ("dice", "hd95")

Reference = tuple[Entry, CaseFiles, Path]
"""Who is scored, by which files, against which prediction."""


def run(job: Job) -> None:
    """Score, summarise, and hand the means to tracking."""
    score(job, list(references(job)))


def score(job: Job, listed: list[Reference]) -> None:
    """Score what is listed, as the stage does; also for predictions that no network made."""
    classes = job.recipe.data.class_list()
    used: dict[str, Any] = {
        "evaluate": job.recipe.evaluate.model_dump(mode="json"),
        "classes": classes.to_json(),
        "references": [
            [e.fold, e.case, e.role, label_stamps(case), _content(path, classes)] for e, case, path in listed
        ],
    }
    used |= label_form(job.recipe.data)
    makes = [job.work.evaluation / name for name in ("scores.csv", "summary.json", "confusion.csv")]
    with job.stage("evaluate", VERSION, used, makes) as must_run:
        if must_run:
            _score_all(job, listed)
    _say(job)


def references(job: Job, folds: Sequence[int] | None = None) -> Iterator[Reference]:
    """Every labelled case with a role of `predict.roles`, in `folds` or in those that were trained."""
    by_name = cases(job.work.ingest)
    if folds is None:
        members = files.read_json(job.work.model / "model.json")["members"]
        folds = sorted({fold_of(m["name"]) for m in members})
    for role in roles(job.work.ingest):
        row = by_name[role.case]
        if role.fold in folds and role.role in job.recipe.predict.roles and row["label"]:
            folder = job.work.fold_predictions(role.fold, len(folds))
            entry = Entry(role.case, role.subject, role.fold, role.role)
            yield entry, case_files(row), results.label_map(folder, role.case, row["unit"])


def _content(path: Path, classes: ClassList) -> str:
    paths = results.label_files(path, classes.masks)
    return " ".join(files.sha256(p) if p.is_file() else "missing" for p in paths)


def _score_all(job: Job, listed: list[Reference]) -> None:
    classes, how = job.recipe.data.class_list(), job.recipe.evaluate
    rows: list[ScoreRow] = []
    matrices: dict[str, Array] = {}
    with job.say.progress("scoring", len(listed)) as bar:
        for n, (entry, case, predicted) in enumerate(listed, 1):
            truth = read_truth(case, classes)
            prediction = read_prediction(predicted, classes, truth.grid)
            array = truth.array[0]
            tolerances = how.nsd_tolerance, how.bf_tolerance
            rows += table.score(entry, array, prediction, truth.grid, classes, *tolerances)
            counted = overlap.confusion_of(array, prediction, classes, where=entry.case)
            matrices[entry.role] = matrices.get(entry.role, np.zeros_like(counted)) + counted
            bar.to(n, entry.case)
    out = job.work.evaluation
    table.write(out / "scores.csv", rows)
    table.write_confusion(out / "confusion.csv", matrices, classes)
    costs = how.cost_fp, how.cost_fn
    told = summary.summarise(rows, matrices, costs=costs, background=classes.background, names=classes.names)
    files.write_json(out / "summary.json", told)


def _say(job: Job) -> None:
    told = files.read_json(job.work.evaluation / "summary.json")
    for line in summary_lines(told):
        job.say.result(line)
    job.tracked.run.summary(means(told))


_CHART_OF = {"val": "val_scored"}
"""`val/…` are the curves of validation during training: scores of predicted cases must not lie on them."""


def means(told: dict[str, Any]) -> dict[str, float]:
    """`test/dice_csf` → mean: every metric over classes as `mean`, and those of `BY_CLASS` for each class.

    Sets of images have the numbers over the set instead of the classes' means: `test/mIoU`, `test/IoU_car`.
    Scores of validation cases are `val_scored/…`.
    Where there are more than `MOST_CHARTED` classes, none has a chart of its own. All others stand in the
    tables that the run keeps as artifacts; as charts they would hide these.
    """
    found: dict[str, float] = {}
    for name, held in told["sets"].items():
        shown = {f"{metric}_mean": values["mean"] for metric, values in held["over_classes"].items()}
        if held["length_unit"] == "px":
            shown |= {key: held["over_set"][key] for key in OVER_SET if key in held["over_set"]}
            if len(held["classes"]) <= MOST_CHARTED:
                shown |= {f"IoU_{key}": value for key, value in held["over_set"]["iou_by_class"].items()}
        elif len(held["classes"]) <= MOST_CHARTED:
            by_class = held["classes"].items()
            shown |= {f"{m}_{key}": metrics[m]["mean"] for m in BY_CLASS for key, metrics in by_class}
        found |= {f"{_CHART_OF.get(name, name)}/{key}": v for key, v in shown.items() if v is not None}
    return found
