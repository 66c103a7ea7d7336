"""A case prepared for training, as a unit of work: read its files, prepare, write its arrays; in any process.

Workers import this module as they start, so it imports little: no recipe, no console.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Finding, MedsegError, refusal
from medseg.grid import Array, Plane
from medseg.ingest import checks
from medseg.ingest import instances as object_files
from medseg.ingest.patterns import CaseFiles
from medseg.mask_bits import unpack_masks
from medseg.preprocess import geometry, instances, store, weightmap
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import NormalizedVolume
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.resources import coded_out_of_memory
from medseg.volume import Case, Volume
from pipelines.execution import lost
from pipelines.execution.steps import Steps, Work


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
    plan: PreparePlan
    plane: Plane
    seed: int
    weight_map: tuple[float, float] | None = None
    """w0 and sigma_px of the pixel weights between objects; None without them."""
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
    label = task.paths.label
    with coded_out_of_memory(task.paths.name, lost.LESS_MEMORY):
        case, findings = checks.read_case(
            task.paths, asked.classes, intensity=asked.plan.intensity, n4=asked.plan.n4
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
    task, case, numbers = read
    label: Array | None = None
    extras: dict[str, Array] = {}
    with coded_out_of_memory(case.name, lost.LESS_MEMORY):
        volume, record = prepare(case.image, asked.plan)
        if case.label is not None:
            label = geometry.apply_to_labels(case.label, record).array[0]
            if asked.classes.multilabel:
                label = unpack_masks(label, len(asked.classes))
            if numbers is not None:
                objects = geometry.apply_to_labels(numbers, record).array[0]
                label = instances.separated(label, objects, asked.plane)
                extras[instances.NAME] = instances.stored(objects)
            if asked.weight_map is not None and not asked.classes.multilabel:
                extras[weightmap.NAME] = weightmap.weight_map(
                    label, asked.plane, *asked.weight_map, extras.get(instances.NAME)
                )
    return Prepared(task, volume, record, label, extras)


def _write(asked: Asked, case: Prepared) -> None:
    """Write a case's arrays, whole or not at all, and then the mark that they are there."""
    paths = case.task.paths
    with coded_out_of_memory(paths.name, lost.LESS_MEMORY):
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
    mark(folder, case.task.key)


def mark(folder: Path, key: str) -> None:
    """Note that a case's files are whole, and the ``key`` of what they were made from."""
    files.write_json(folder / "key.json", {"key": key, "files": store.fingerprints(folder)})
