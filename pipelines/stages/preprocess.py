"""Preprocess: usable cases → memory-mapped arrays for training; a case whose inputs are unchanged is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import Recipe
from medseg.errors import MedsegError, refusal
from medseg.grid import Array
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.mask_bits import unpack_masks
from medseg.preprocess import geometry, store, weightmap
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.volume import Case
from pipelines.case_tables import case_files, label_form, label_stamps, used_cases
from pipelines.job import Job, remove_others

VERSION = 1


def run(job: Job) -> None:
    """Prepare every case that some fold trains or validates on, and again one whose files were lost."""
    rows = used_cases(job.work.ingest, ("train", "val"))
    keys = {row["case"]: _key(job.recipe, case_files(row)) for row in rows}
    stale = {name for name, key in keys.items() if not _is_prepared(job.work.prepared / name, key)}
    with job.stage("preprocess", VERSION, keys, (), sorted(stale)) as must_run:
        if not must_run:
            return
        remove_others(job.work.prepared, list(keys))
        with job.say.progress("preparing", len(rows)) as bar:
            for n, row in enumerate(rows, 1):
                if row["case"] in stale:
                    _prepare(job, case_files(row), keys[row["case"]])
                bar.to(n, row["case"])


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
        _mark(folder, key)
    return True


def _mark(folder: Path, key: str) -> None:
    files.write_json(folder / "key.json", {"key": key, "files": store.fingerprints(folder)})


def _prepare(job: Job, paths: CaseFiles, key: str) -> None:
    settings = job.recipe.preprocess
    case, findings = checks.read_case(
        paths, job.recipe.data.class_list(), intensity=settings.intensity, n4=settings.n4
    )
    if case is None:
        reason = refusal(findings).finding
        details, how_to_fix = f"{reason.details} (it was usable at ingest)", "run medseg ingest again"
        raise MedsegError(reason.code, reason.where, details, how_to_fix)
    _mark(write_prepared(job.work.prepared, case, job.recipe), key)


def write_prepared(folder: Path, case: Case, recipe: Recipe) -> Path:
    """Prepare a case, write its arrays, whole or not at all, and give their folder."""
    settings, weight_map = recipe.preprocess, recipe.loss.weight_map
    plan = GeometryPlan(
        settings.spacing_mm, settings.crop, settings.crop_margin, settings.foreground, settings.spacing_px
    )
    volume, record = prepare(case.image, PreparePlan(plan, settings.n4, settings.intensity))
    label: Array | None = None
    extras: dict[str, Array] = {}
    if case.label is not None:
        label = geometry.apply_to_labels(case.label, record).array[0]
        classes = recipe.data.class_list()
        if classes.multilabel:
            label = unpack_masks(label, len(classes))
        elif weight_map is not None:
            extras[weightmap.NAME] = weightmap.weight_map(
                label, recipe.sampling.planes[0], weight_map.w0, weight_map.sigma_px
            )
    return store.write(folder, case.name, case.subject, volume, label, record, recipe.train.seed, extras)
