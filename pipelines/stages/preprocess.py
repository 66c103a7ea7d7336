"""Preprocess: usable cases → memory-mapped arrays for training; a case whose inputs are unchanged is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import Recipe
from medseg.config.sections import Preprocess
from medseg.ingest.patterns import CaseFiles
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.prepare import PreparePlan
from pipelines import prepared_case
from pipelines.case_tables import case_files, label_form, label_stamps, used_cases
from pipelines.execution import lost
from pipelines.job import Job, remove_others
from pipelines.prepared_case import Asked, CaseTask

VERSION = 1


def run(job: Job) -> None:
    """Prepare every case that some fold trains or validates on, and again one whose files were lost."""
    rows = used_cases(job.work.ingest, ("train", "val"))
    keys = {row["case"]: _key(job.recipe, case_files(row)) for row in rows}
    stale = {name for name, key in keys.items() if not _is_prepared(job.work.prepared / name, key)}
    with job.stage("preprocess", VERSION, keys, (), sorted(stale)) as must_run:
        if must_run:
            remove_others(job.work.prepared, list(keys))
            tasks = [CaseTask(case_files(row), keys[row["case"]]) for row in rows if row["case"] in stale]
            _prepare_all(job, tasks)


def _prepare_all(job: Job, tasks: Sequence[CaseTask]) -> None:
    """Prepare cases; one whose worker was lost ends the stage after all others, as training needs it."""
    recipe, findings = job.recipe, []
    weight_map = recipe.loss.weight_map
    asked = Asked(
        job.work.prepared,
        recipe.data.class_list(),
        _plan(recipe.preprocess),
        recipe.sampling.planes[0],
        recipe.train.seed,
        None if weight_map is None else (weight_map.w0, weight_map.sigma_px),
        recipe.data.instances,
    )
    with job.say.progress("preparing", len(tasks)) as bar:
        ended = job.execution.carry_out(tasks, prepared_case.work(asked))
        for done, (number, finding) in enumerate(ended, 1):
            if finding is not None:
                job.say.line(f"  {finding}")
                findings.append(finding)
            bar.to(done, tasks[number].paths.name)
    if findings:
        raise lost.refusal("preprocess", findings)


def _plan(settings: Preprocess) -> PreparePlan:
    geometry = GeometryPlan(
        settings.spacing_mm, settings.crop, settings.crop_margin, settings.foreground, settings.spacing_px
    )
    return PreparePlan(geometry, settings.n4, settings.intensity)


def _key(recipe: Recipe, case: CaseFiles) -> str:
    """The hash of everything that decides a case's arrays."""
    used: dict[str, Any] = {
        "version": VERSION,
        "preprocess": recipe.preprocess.used(),
        "classes": recipe.data.class_list().to_json(),
        "void": recipe.data.void,
        "seed": recipe.train.seed,
        "channels": {k: files.stamp(p) for k, p in case.channels.items()},
        "label": label_stamps(case.masks or case.label),
    }
    used |= label_form(recipe.data)
    if recipe.data.instances:
        used["instances"] = recipe.sampling.plane
    if recipe.loss.weight_map is not None:
        used["weight_map"] = [recipe.sampling.plane, recipe.loss.weight_map.model_dump(mode="json")]
    return files.sha256_of_value(used)


def _is_prepared(folder: Path, key: str) -> bool:
    """True if the case in this folder was made from what `key` hashes, and its files are still the same.

    `key.json` holds both. Where files were copied, they are read once and their new times are noted.
    """
    try:
        mark = files.read_json(folder / "key.json")
        made_from, known = mark["key"], dict(mark["files"])
        whole = all(files.is_unchanged(folder / name, fingerprint) for name, fingerprint in known.items())
    except (OSError, ValueError, TypeError, KeyError):  # no such file, or not as it is written here
        return False
    if made_from != key or not whole:
        return False
    if any((folder / name).stat().st_mtime_ns != known[name]["mtime_ns"] for name in known):
        prepared_case.mark(folder, key)
    return True
