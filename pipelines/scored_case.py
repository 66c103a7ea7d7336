"""The scores of one case as a unit of work: read both label maps, score; in any process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medseg.classes import VOID, ClassList
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.grid import Array, Grid
from medseg.infer import objects as split_objects
from medseg.infer import results
from medseg.ingest import checks, instances
from medseg.metrics import confusion_matrix, objects, table
from medseg.metrics.folder_pairs import LabelFiles
from medseg.metrics.objects import ObjectCounts
from medseg.metrics.table import Entry, ScoreRow
from medseg.model.description import InstanceSettings
from medseg.resources import coded_out_of_memory
from medseg.volume import Volume
from pipelines.execution import lost
from pipelines.execution.steps import Ended, Steps, Work


@dataclass(frozen=True)
class Reference:
    """A case to score, its reference label files and its prediction, None where there is none."""

    entry: Entry
    truth: LabelFiles
    prediction: LabelFiles | None


@dataclass(frozen=True)
class Asked:
    """All that scores depend on but the label maps."""

    classes: ClassList
    nsd_tolerance: float
    bf_tolerance: float
    instances: InstanceSettings | None = None
    """The way in which predicted objects are told apart if there is no map of them; None without objects."""
    numbered: bool = False
    """True where a reference has a number for each object, and what has one is of the class; so have
    predictions if ``instances`` is None."""


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """Rows of scores.csv and the confusion matrix, (K, K), or (L, 2, 2) of masks; and what is to be said.

    An ``unscored`` case has neither: its reference cannot be read, or its worker was lost. An ``unread``
    prediction counts as missing.
    """

    rows: tuple[ScoreRow, ...] = ()
    matrix: Array | None = None
    unscored: Finding | None = None
    unread: Finding | None = None
    note: Finding | None = None
    objects: ObjectCounts | None = None


@dataclass(frozen=True, eq=False)
class _LabelMaps:
    """Class indices (X, Y, Z) uint8 on the reference's grid; no prediction where none can be used."""

    reference: Reference
    grid: Grid
    truth: Array
    prediction: Array | None
    unread: Finding | None
    numbers: tuple[Array, Array | None] | None = None
    """Those of the objects of the truth and of the prediction, (X, Y, Z), where they are scored."""


def work(asked: Asked) -> Work[Reference, ScoredCase]:
    """The unit of work, for an engine."""
    return Work(partial(make, asked), _lost)


def make(asked: Asked) -> Steps[Reference, ScoredCase]:
    """Make the steps in a process; nothing is written."""
    return Steps(partial(_read, asked), partial(_score, asked), lambda scored: scored)


def _lost(reference: Reference, finding: Finding) -> ScoredCase:
    return ScoredCase(unscored=lost.of_case(reference.entry.case, finding))


def _read(asked: Asked, reference: Reference) -> _LabelMaps | Ended[ScoredCase]:
    with coded_out_of_memory(reference.entry.case, lost.LESS_MEMORY):
        if asked.numbered:
            return _read_numbered(asked, reference)
        try:
            truth = read_labels(reference.truth, asked.classes)
        except MedsegError as error:
            return Ended(ScoredCase(unscored=error.finding))
        prediction, unread = _read_prediction(reference, asked.classes, truth.grid)
        try:
            numbers = _read_objects(asked, reference, truth.grid, prediction)
        except MedsegError as error:
            return Ended(ScoredCase(unscored=error.finding))
        return _LabelMaps(reference, truth.grid, truth.array[0], prediction, unread, numbers)


def _read_objects(
    asked: Asked, reference: Reference, grid: Grid, prediction: Array | None
) -> tuple[Array, Array | None] | None:
    """The numbers of the reference's objects and of the predicted ones; None where none are scored.

    Those of the prediction are read from the map beside it, or made of it where there is none.
    """
    if asked.instances is None or not isinstance(reference.truth, Path):
        return None
    truth = instances.read(reference.truth, asked.classes, grid).array[0]
    if prediction is None or not isinstance(reference.prediction, Path):
        return truth, None
    path = results.instances_path(reference.prediction)
    if path.is_file():
        return truth, instances.read_map(path, grid).array[0]
    inside = prediction == asked.classes.foreground[0]
    return truth, split_objects.split(inside, asked.instances, grid.spacing)


def _read_numbered(asked: Asked, reference: Reference) -> _LabelMaps | Ended[ScoredCase]:
    """Label maps of one class, from maps with a number for each object."""
    if not isinstance(reference.truth, Path):
        raise TypeError("overlapping masks have no numbers")
    try:
        truth = instances.read(reference.truth, asked.classes)
    except MedsegError as error:
        return Ended(ScoredCase(unscored=error.finding))
    prediction, numbers, unread = None, None, None
    if isinstance(reference.prediction, Path):
        try:
            prediction, numbers = _read_guess(asked, reference.prediction, truth.grid)
        except MedsegError as error:
            unread = error.finding
    own = truth.array[0]
    return _LabelMaps(reference, truth.grid, (own > 0).astype(np.uint8), prediction, unread, (own, numbers))


def _read_guess(asked: Asked, path: Path, grid: Grid) -> tuple[Array, Array]:
    """Class indices (X, Y, Z) uint8 of a prediction, 1 where it has any value above 0, and its objects.

    A map of objects that lies beside it is preferred to telling them apart here.
    """
    inside = instances.read_map(path, grid).array[0] > 0
    beside = results.instances_path(path) if path.name.endswith(tuple(results.ENDINGS.values())) else path
    if beside != path and beside.is_file():
        numbers = instances.read(beside, asked.classes, grid).array[0]
    elif asked.instances is None:
        numbers = instances.read(path, asked.classes, grid).array[0]
    else:
        numbers = split_objects.split(inside, asked.instances, grid.spacing)
    return inside.astype(np.uint8), numbers


def _read_prediction(
    reference: Reference, classes: ClassList, grid: Grid
) -> tuple[Array | None, Finding | None]:
    """Class indices (X, Y, Z) on the reference's grid; None, and why, where there are none to be used."""
    if reference.prediction is None:
        return None, None
    try:
        return read_labels(reference.prediction, classes.as_written(), grid).array[0], None
    except MedsegError as error:
        return None, error.finding


def _score(asked: Asked, maps: _LabelMaps) -> ScoredCase:
    entry, truth, prediction = maps.reference.entry, maps.truth, maps.prediction
    with coded_out_of_memory(entry.case, lost.LESS_MEMORY):
        rows = table.score(
            entry, truth, prediction, maps.grid, asked.classes, asked.nsd_tolerance, asked.bf_tolerance
        )
        if note := _void_note(maps.reference, truth, prediction):
            rows = [replace(row, note=note.details) for row in rows]
        matrix = confusion_matrix.confusion_of(truth, prediction, asked.classes, where=entry.case)
        counts = _count_objects(maps)
    return ScoredCase(tuple(rows), matrix, unread=maps.unread, note=note, objects=counts)


def _count_objects(maps: _LabelMaps) -> ObjectCounts | None:
    """Compare the objects; what is void in the reference is left out of both."""
    if maps.numbers is None:
        return None
    known = maps.truth != VOID
    truth, guess = maps.numbers
    return objects.count(truth * known, None if guess is None else guess * known)


def _void_note(reference: Reference, truth: Array, prediction: Array | None) -> Finding | None:
    """VOID_PREDICTED where the prediction is void and the truth is not."""
    count = 0 if prediction is None else np.count_nonzero((prediction == VOID) & (truth != VOID))
    if not count or reference.prediction is None:
        return None
    path = reference.prediction
    where = path if isinstance(path, Path) else next(iter(path.values()))
    details = f"void in {count} voxels where the reference has a class; scored as if nothing was predicted"
    return Finding(Code.VOID_PREDICTED, str(where), details, "nothing to do if this is meant")


def read_labels(label: LabelFiles, classes: ClassList, grid: Grid | None = None) -> Volume:
    """A label map, or overlapping masks, in class indices (1, X, Y, Z) uint8, on `grid` if one is given.

    Raises the file's code, and MASK_MISSING unless all masks are there.
    """
    if isinstance(label, Path):
        volume, findings = checks.read_label(label, classes, grid)
    else:
        names = classes.masks or classes.foreground_names
        if absent := [name for name in names if name not in label]:
            details = f"no {', '.join(absent)}"
            how_to_fix = "add <case>_<mask>, with 0 everywhere where there is nothing"
            raise MedsegError(Code.MASK_MISSING, next(iter(label.values())), details, how_to_fix)
        read = checks.read_class_files if classes.own_files else checks.read_masks
        volume, findings = read([label[name] for name in names], classes, grid)
    if volume is None:
        raise refusal(findings)
    return volume
