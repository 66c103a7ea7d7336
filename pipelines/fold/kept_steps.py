"""Weights that a training keeps at chosen steps (`train.keep_at`): which there are, and their scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medseg import files
from pipelines.job import Job
from pipelines.tracked_scores import headlines as headlines_of
from pipelines.workfolder import Work

SCORES = "steps.json"
"""In the folder of evaluations: step → the content of summary.json."""

_OF_SCANS = {"dice": "Dice", "hd95": "HD95 (mm)", "nsd": "NSD"}


def steps(job: Job) -> dict[int, Work]:
    """List the steps whose weights were kept, each with its folder."""
    by_step = {step: job.work.kept_step(step) for step in job.recipe.train.keep_at}
    return {step: place for step, place in by_step.items() if (place.model / "model.json").is_file()}


def used(job: Job) -> dict[str, Any]:
    """Give what the scores depend on: the models of the steps; nothing where none was kept."""
    if not (kept := steps(job)):
        return {}
    from medseg.infer import (
        loading,
    )  # here, as it imports torch, which evaluations without kept weights need not

    return {"kept": {str(step): loading.identity(place.model) for step, place in kept.items()}}


def files_of(job: Job) -> tuple[str, ...]:
    """Name the files that :func:`pipelines.fold.kept_weights.score` writes to the folder of evaluations."""
    return (SCORES,) if steps(job) else ()


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
