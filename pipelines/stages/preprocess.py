"""Preprocess: usable cases → memory-mapped arrays for training; a case whose inputs are unchanged is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.config.recipe import Recipe
from medseg.errors import MedsegError, refusal
from medseg.grid import Array
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.mask_bits import unpack_masks
from medseg.preprocess import geometry, store, weightmap
from medseg.preprocess.geometry import GeometryPlan, Record
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.volume import Case, Volume
from pipelines.case_tables import case_files, label_form, label_stamps, used_cases
from pipelines.job import Job, remove_others

VERSION = 1


def run(job: Job) -> None:
    """Prepare every case that some fold trains or validates on."""
    rows = used_cases(job.work.ingest, ("train", "val"))
    keys = {row["case"]: _key(job.recipe, case_files(row)) for row in rows}
    makes = [job.work.prepared / name / "key.json" for name in keys]
    with job.stage("preprocess", VERSION, keys, makes) as must_run:
        if not must_run:
            return
        remove_others(job.work.prepared, list(keys))
        with job.say.progress("preparing", len(rows)) as bar:
            for n, row in enumerate(rows, 1):
                _prepare(job, case_files(row), keys[row["case"]])
                bar.to(n, row["case"])


def _key(recipe: Recipe, case: CaseFiles) -> str:
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
    if recipe.loss.weight_map is not None:
        used["weight_map"] = [recipe.sampling.plane, recipe.loss.weight_map.model_dump(mode="json")]
    return files.sha256_of_value(used)


def _prepare(job: Job, paths: CaseFiles, key: str) -> None:
    folder = job.work.prepared / paths.name
    done = folder / "key.json"
    if done.is_file() and files.read_json(done) == key:
        return
    how = job.recipe.preprocess
    case, findings = checks.read_case(paths, job.recipe.data.class_list(), intensity=how.intensity, n4=how.n4)
    if case is None:
        reason = refusal(findings).finding
        raise MedsegError(
            reason.code,
            reason.where,
            f"{reason.details} (it was usable at ingest)",
            "run medseg ingest again",
        )
    write_prepared(job.work.prepared, case, job.recipe)
    files.write_json(done, key)


def write_prepared(folder: Path, case: Case, recipe: Recipe) -> None:
    """Prepare a case and write its arrays, whole or not at all."""
    how = recipe.preprocess
    plan = GeometryPlan(how.spacing_mm, how.crop, how.crop_margin, how.foreground, how.spacing_px)
    volume, record = prepare(case.image, PreparePlan(plan, how.n4, how.intensity))
    label = _label(case.label, record, recipe.data.class_list())
    extras = {} if label is None else _extras(recipe, label)
    store.write(folder, case.name, case.subject, volume, label, record, recipe.train.seed, extras)


def _label(label: Volume | None, record: Record, classes: ClassList) -> Array | None:
    """Class indices (X, Y, Z), or overlapping masks (L, X, Y, Z), of a label map on the scan's own grid."""
    if label is None:
        return None
    indices: Array = geometry.apply_to_labels(label, record).array[0]
    return unpack_masks(indices, len(classes)) if classes.multilabel else indices


def _extras(recipe: Recipe, label: Array) -> dict[str, Array]:
    """What is stored beside a label (X, Y, Z) of class indices."""
    how = recipe.loss.weight_map
    if how is None:
        return {}
    return {weightmap.NAME: weightmap.weight_map(label, recipe.sampling.planes[0], how.w0, how.sigma_px)}
