"""Preprocess: usable cases → memory-mapped arrays for training; a case whose inputs are unchanged is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.config.recipe import Recipe
from medseg.config.sections import Preprocess, WeightMap
from medseg.errors import Finding, MedsegError, refusal
from medseg.grid import Array, Plane
from medseg.ingest import checks
from medseg.ingest import instances as object_files
from medseg.ingest.patterns import CaseFiles
from medseg.mask_bits import unpack_masks
from medseg.preprocess import geometry, instances, store, weightmap
from medseg.preprocess.geometry import GeometryPlan, Record
from medseg.preprocess.intensity import NormalizedVolume
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.resources import coded_out_of_memory
from medseg.volume import Case, Volume
from pipelines.case_tables import case_files, label_form, label_stamps, used_cases
from pipelines.execution import lost
from pipelines.execution.steps import Steps, Work
from pipelines.job import Job, remove_others

VERSION = 1

LESS_MEMORY = "free some memory, or lower --workers; then run the same command again"


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
    asked = Asked(
        job.work.prepared,
        recipe.data.class_list(),
        recipe.preprocess,
        recipe.loss.weight_map,
        recipe.sampling.planes[0],
        recipe.train.seed,
        recipe.data.instances,
    )
    with job.say.progress("preparing", len(tasks)) as bar:
        for done, (number, finding) in enumerate(job.execution.carry_out(tasks, work(asked)), 1):
            if finding is not None:
                job.say.line(f"  {finding}")
                findings.append(finding)
            bar.to(done, tasks[number].paths.name)
    if findings:
        raise lost.refusal("preprocess", findings)


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
        _mark(folder, key)
    return True


def _mark(folder: Path, key: str) -> None:
    files.write_json(folder / "key.json", {"key": key, "files": store.fingerprints(folder)})


@dataclass(frozen=True)
class CaseTask:
    """A case to prepare, and the hash of everything that decides its arrays."""

    paths: CaseFiles
    key: str


@dataclass(frozen=True)
class Asked:
    """All that decides a case's arrays but its files, and the folder that they go to."""

    folder: Path
    classes: ClassList
    preprocess: Preprocess
    weight_map: WeightMap | None
    plane: Plane
    seed: int
    instances: bool = False
    """True where objects are told apart."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The arrays of a case: a volume, class indices (X, Y, Z) uint8 or masks (L, X, Y, Z), maps beside it."""

    task: CaseTask
    volume: NormalizedVolume
    record: Record
    label: Array | None
    extras: dict[str, Array]


def work(asked: Asked) -> Work[CaseTask, Finding | None]:
    """The unit of work, for an engine; its outcome is None, or the reason why the case was lost."""
    return Work(partial(make, asked), lambda task, finding: lost.of_case(task.paths.name, finding))


def make(asked: Asked) -> Steps[CaseTask, Finding | None]:
    """Make the steps in a process; a refusal ends the stage."""
    return Steps(partial(_read, asked), partial(_prepare, asked), partial(_write, asked))


def _read(asked: Asked, task: CaseTask) -> tuple[CaseTask, Case, Volume | None]:
    settings, label = asked.preprocess, task.paths.label
    with coded_out_of_memory(task.paths.name, LESS_MEMORY):
        case, findings = checks.read_case(
            task.paths, asked.classes, intensity=settings.intensity, n4=settings.n4
        )
        if case is None:
            reason = refusal(findings).finding
            details, how_to_fix = f"{reason.details} (it was usable at ingest)", "run medseg ingest again"
            raise MedsegError(reason.code, reason.where, details, how_to_fix)
        numbers = None
        if asked.instances and label is not None:
            numbers = object_files.read(label, asked.classes, case.image.grid)
    return task, case, numbers


def _prepare(asked: Asked, read: tuple[CaseTask, Case, Volume | None]) -> Prepared:
    (task, case, numbers), settings = read, asked.preprocess
    plan = GeometryPlan(
        settings.spacing_mm, settings.crop, settings.crop_margin, settings.foreground, settings.spacing_px
    )
    label: Array | None = None
    extras: dict[str, Array] = {}
    with coded_out_of_memory(case.name, LESS_MEMORY):
        volume, record = prepare(case.image, PreparePlan(plan, settings.n4, settings.intensity))
        if case.label is not None:
            label = geometry.apply_to_labels(case.label, record).array[0]
            if asked.classes.multilabel:
                label = unpack_masks(label, len(asked.classes))
            if numbers is not None:
                objects = geometry.apply_to_labels(numbers, record).array[0]
                label = instances.separated(label, objects, asked.plane)
                extras[instances.NAME] = instances.stored(objects)
            if asked.weight_map is not None and not asked.classes.multilabel:
                w0, sigma_px = asked.weight_map.w0, asked.weight_map.sigma_px
                extras[weightmap.NAME] = weightmap.weight_map(
                    label, asked.plane, w0, sigma_px, extras.get(instances.NAME)
                )
    return Prepared(task, volume, record, label, extras)


def _write(asked: Asked, case: Prepared) -> None:
    """Write a case's arrays, whole or not at all, and then the mark that they are there."""
    paths = case.task.paths
    with coded_out_of_memory(paths.name, LESS_MEMORY):
        folder = store.write(
            asked.folder,
            paths.name,
            paths.subject,
            case.volume,
            case.label,
            case.record,
            asked.seed,
            case.extras,
        )
    _mark(folder, case.task.key)
