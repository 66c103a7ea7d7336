"""Evaluate: every labelled case whose role is predicted is scored on its own grid; a missing one counts 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import MedsegError
from medseg.evaluate.folder_pairs import LabelFiles
from medseg.evaluate.table import Entry
from medseg.infer import results
from medseg.ingest import quarantine
from pipelines import scoring
from pipelines.case_tables import case_files, cases, label_form, label_stamps, roles
from pipelines.job import Job
from pipelines.scoring import OVER_SET, Reference, predicted_files, summary_lines
from pipelines.tracking import MOST_CHARTED
from pipelines.workfolder import fold_of

VERSION = 3
BY_CLASS = ("dice", "hd95")


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
            [r.entry.fold, r.entry.case, r.entry.role, label_stamps(r.truth), _content(r.prediction)]
            for r in listed
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
    masks = job.recipe.data.class_list().masks
    for role in roles(job.work.ingest):
        row = by_name[role.case]
        if role.fold in folds and role.role in job.recipe.predict.roles and row["label"]:
            folder, case = job.work.fold_predictions(role.fold, len(folds)), case_files(row)
            entry = Entry(role.case, role.subject, role.fold, role.role)
            predicted = predicted_files(results.label_map(folder, role.case, row["unit"]), masks)
            if truth := case.masks or case.label:
                yield Reference(entry, truth, predicted)


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
        )
    for finding in scored.unscored.values():  # it was usable at ingest
        raise MedsegError(finding.code, finding.where, finding.details, finding.how_to_fix)
    for row in scored.quarantine:
        job.say.line(f"  {quarantine.line(row)}")
    scoring.write(job.work.evaluation, scored, classes, (settings.cost_fp, settings.cost_fn))
    quarantine.write(job.work.evaluation / "quarantine.csv", scored.quarantine)


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
