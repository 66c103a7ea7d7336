"""One case among many: a result that is up to date is kept, otherwise a new one is made and written.

The command `medseg segment`, the predict stage and the MLflow model all go case by case through here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, Finding, MedsegError
from medseg.infer import dicom_results, figure, results
from medseg.infer.brain import BrainMask
from medseg.infer.case_memory import CaseMemory
from medseg.infer.loading import Model
from medseg.infer.results import Result
from medseg.infer.segment import (
    Predicted,
    Prepared,
    Progress,
    finish_case,
    predict_case,
    prepare_case,
    read_scan,
)
from medseg.ingest.hidden import without_names
from medseg.io import affine_checks
from medseg.io.dicom.seg import Kind
from medseg.io.dicom.series import SeriesVolume
from medseg.io.scans import Source
from medseg.limits import MAX_SCAN_BYTES
from medseg.model.description import Description
from medseg.resources import coded_out_of_memory

VERSION = 3
"""Raised when the same model gives other results."""

VERSION_RESAMPLED = 4
"""The same, for models that resample their scans."""

LESS_MEMORY = "free some memory, predict on the cpu, or lower batch or memory_mb in model.json"

Status = Literal["done", "done with note", "done without SEG", "SEG failed", "skipped", "excluded"]


@dataclass(frozen=True)
class Task:
    """A case to segment: its channels' files by name, and the path that names its result.

    `case_info` comes first in the result's JSON; with `brain` nothing but the brain is segmented.
    """

    case: str
    channels: Mapping[str, Source]
    label: Path
    case_info: Mapping[str, Any] = field(default_factory=dict)
    brain: BrainMask | None = None
    private: bool = False
    """True if the case is a pseudonym, and no name of its files may be shown."""

    @property
    def file(self) -> Path:
        """The file that stands for the case in tables; the case's name for DICOM and for private cases."""
        first = next(iter(self.channels.values()))
        return first if isinstance(first, Path) and not self.private else Path(self.case)

    def shown(self, finding: Finding) -> Finding:
        """A finding about the case; of a private one without the names of its files."""
        files = [source for source in self.channels.values() if isinstance(source, Path)]
        if self.brain is not None and self.brain.file is not None:
            files.append(self.brain.file)
        return without_names(finding, self.case, files) if self.private else finding

    def fingerprint(self) -> str:
        """The hash by which the same files, unchanged, are known again within a run: names, sizes, times."""
        sources: list[Source | None] = [
            *self.channels.values(),
            None if self.brain is None else self.brain.file,
        ]
        return files.sha256_of_value([self.case, *(repr(_stamp(source)) for source in sources)])

    @property
    def series(self) -> SeriesVolume | None:
        """The volume of a DICOM series that the case is, if it is one."""
        first = next(iter(self.channels.values()))
        return first if isinstance(first, SeriesVolume) else None


def _stamp(source: Source | None) -> object:
    if isinstance(source, SeriesVolume):
        return source.instances
    try:
        return source and files.stamp(source)
    except OSError:  # its reader will say what is wrong
        return source


@dataclass(frozen=True)
class Settings:
    """Settings of a prediction that the model leaves open; `less_memory` is the advice on a full memory.

    `accept_domain` segments scans unlike those of the training, with the note OUT_OF_DOMAIN. `seg_kind` is
    the kind of a DICOM series's SEG; `figure` draws each scan with its outlines. `runtime` is the runtime and
    precision that compute, in words; `decides` is what else of them decides results, empty for torch in fp32.
    `margin` is that of :mod:`medseg.infer.empty`, none for exact results.
    """

    mode: str | None = None
    confidence: bool = False
    accept_domain: bool = False
    less_memory: str = LESS_MEMORY
    seg_kind: Kind = "BINARY"
    figure: bool = False
    runtime: str = "torch fp32"
    decides: str = ""
    margin: int | None = None
    probabilities: bool = False
    """True where the probabilities of each class are wanted, too."""
    memory: CaseMemory | None = None
    """What a case may take where memory is short; it decides no result."""


@dataclass(frozen=True)
class Outcome:
    """The end of one case: its status, the content of its JSON, and for an excluded one the reason.

    `key` is what an excluded case would have been made from, where that is known.
    """

    status: Status
    metadata: Mapping[str, Any]
    finding: Finding | None = None
    key: str = ""


@dataclass(frozen=True, eq=False)
class Started:
    """A case that was read and prepared: `key` is what its result is made from, `target` its series."""

    task: Task
    key: str
    target: dicom_results.Target | None
    prepared: Prepared


@dataclass(frozen=True, eq=False)
class Computed:
    """A case that the networks have labelled."""

    started: Started
    predicted: Predicted


def run(
    task: Task, key: str, masks: tuple[str, ...], load: Callable[[], Model], settings: Settings
) -> Outcome:
    """Give the case's result if it is there and was made from `key`; otherwise make it and write it.

    `load` gives the model, and is called only if it is needed. Raises MedsegError with the case's code; an
    earlier result is then left as it was.
    """
    if (earlier := up_to_date(task, key, masks, settings)) is not None:
        return earlier
    model = load()
    started = start(task, key, model.description, settings)
    return write(compute(started, model, settings), model.description, settings)


def up_to_date(task: Task, key: str, masks: tuple[str, ...], settings: Settings) -> Outcome | None:
    """The outcome `skipped` if the case's result is there, whole, and was made from `key`."""
    cached = results.cached_metadata(task.label, key, confidence=settings.confidence, masks=masks)
    if cached is not None and _is_complete(cached, settings) and _is_accepted(cached, settings):
        return Outcome("skipped", cached)
    return None


def start(task: Task, key: str, description: Description, settings: Settings) -> Started:
    """Read and prepare a case; whether its series can carry a SEG is known before a network runs."""
    target = dicom_results.prepare(task.series, description, settings.seg_kind) if task.series else None
    with coded_out_of_memory(task.file, settings.less_memory):
        prepared = prepare_case(
            task.channels, description, accept_domain=settings.accept_domain, brain=task.brain
        )
    return Started(task, key, target, prepared)


def compute(started: Started, model: Model, settings: Settings, progress: Progress | None = None) -> Computed:
    """Have the networks label a case."""
    allowance = None
    if settings.memory is not None:
        scan = started.prepared.scan
        allowance = settings.memory.for_pieces(scan.grid.shape, scan.array.dtype.itemsize, len(scan.array))
    with coded_out_of_memory(started.task.file, settings.less_memory):
        predicted = predict_case(
            started.prepared,
            model,
            mode=settings.mode,
            confidence=settings.confidence,
            probabilities=settings.probabilities,
            margin=settings.margin,
            allowance=allowance,
            progress=progress,
        )
    return Computed(started, predicted)


def write(computed: Computed, description: Description, settings: Settings) -> Outcome:
    """Bring a case's labels onto its own grid and write all its files; they take their places together.

    Raises DISK_FULL, NOT_WRITTEN, OUT_OF_MEMORY.
    """
    started, classes = computed.started, description.class_list()
    task, target = started.task, started.target
    with coded_out_of_memory(task.file, settings.less_memory):
        result = finish_case(computed.predicted, description)
        result = replace(result, notes=tuple(task.shown(note) for note in result.notes))

        def beside(label: Path) -> dict[str, Any]:
            objects = dicom_results.write(result, target, description, label) if target else {}
            return _with_figure(objects, result, classes, label) if settings.figure else objects

        wanted = beside if target or settings.figure else None
        content = {**task.case_info, "runtime": settings.runtime}
        try:
            metadata = results.write(result, classes, task.label, started.key, content, wanted)
        except OSError as error:
            raise _refusal_to_write(task, error) from error
    return Outcome(_status(result, metadata), metadata)


def _refusal_to_write(task: Task, error: OSError) -> MedsegError:
    path = error.filename2 or error.filename
    name = files.final(Path(os.fsdecode(path))).name if isinstance(path, str | bytes) else task.label.name
    how_to_fix = "look at what stands in its place and at the permissions, then run the same command again"
    details = f"{name} could not be written: {error.strerror or error}"
    return MedsegError(Code.NOT_WRITTEN, task.file, details, how_to_fix)


def _status(result: Result, metadata: Mapping[str, Any]) -> Status:
    """The way a case ended; an empty label map has a note of its own."""
    if dicom_results.has_failed(metadata):
        return "SEG failed"
    if dicom_results.is_impossible(metadata) and any(result.sizes.values()):
        return "done without SEG"
    return "done with note" if result.notes else "done"


def _with_figure(
    content: Mapping[str, Any], result: Result, classes: ClassList, label: Path
) -> dict[str, Any]:
    """Draw a case next to its label map and add it to its JSON's content; none with text in its pixels."""
    if any(note.code is Code.BURNED_IN for note in result.notes):
        return {**content, "figure": "none: text may be burned into the pixels"}
    path = results.figure_path(label)
    files.write_bytes(path, figure.draw_result(result, classes))
    hashes = {**content.get(results.HASHES, {}), path.name: files.sha256(path)}
    return {**content, "figure": "done", results.HASHES: hashes}


def _is_complete(metadata: Mapping[str, Any], settings: Settings) -> bool:
    """True if nothing that is asked for has failed or was not asked for then."""
    return not dicom_results.has_failed(metadata) and (not settings.figure or "figure" in metadata)


def _is_accepted(metadata: Mapping[str, Any], settings: Settings) -> bool:
    """False for a result out of the domain that was asked for then and is not now."""
    outside = any(note["code"] == Code.OUT_OF_DOMAIN for note in metadata["notes"])
    return settings.accept_domain or not outside


def run_or_exclude(task: Task, model: Model, settings: Settings) -> Outcome:
    """:func:`run` by the contents of the case's files; a refusal becomes the outcome `excluded`.

    An earlier result of an excluded case is kept, and the reason says so. Raises DISK_FULL, which no other
    case escapes.
    """
    masks = model.description.class_list().masks
    try:
        key = content_key(task, model.description, model.sha256, settings)
        return run(task, key, masks, lambda: model, settings)
    except MedsegError as error:
        if error.code is Code.DISK_FULL:
            raise
        return excluded(task, masks, error.finding)


def excluded(task: Task, masks: tuple[str, ...], reason: Finding, key: str = "") -> Outcome:
    """The outcome of a case that cannot be used; the reason names an earlier result, which is kept."""
    reason = task.shown(reason)
    details = reason.details
    if results.is_there(task.label, masks):
        details += f"; the earlier result {results.label_files(task.label, masks)[0].name} is kept"
    return Outcome("excluded", {}, Finding(reason.code, reason.where, details, reason.how_to_fix), key)


def content_key(task: Task, description: Description, model_sha256: str, settings: Settings) -> str:
    """The hash of all that decides a result: the files' contents, the model, the settings."""
    content = {}
    for name, path in task.channels.items():
        try:
            if isinstance(path, SeriesVolume):
                content[name] = path.content_sha256()
            else:
                content[name] = files.sha256(path, MAX_SCAN_BYTES)
        except OSError as error:
            read_scan(task.channels, description)  # its reader knows best what is wrong
            raise affine_checks.refusal_to_open(task.file, error) from error
    decides: list[Any] = [version(description), content, model_sha256, settings.mode, settings.confidence]
    if task.series is not None:
        decides.append(settings.seg_kind)
    if settings.probabilities:
        decides.append("probabilities")
    if settings.decides or settings.margin is not None:
        decides.append([settings.decides, settings.margin])
    return files.sha256_of_value([*decides, *_brain_identity(task)])


def version(description: Description) -> int:
    """The version of a model's results: a change that concerns some models leaves other results valid."""
    resamples = description.spacing_mm is not None or description.spacing_px is not None
    return VERSION_RESAMPLED if resamples else VERSION


def _brain_identity(task: Task) -> list[str]:
    """The hash of the mask that tells the brain; none without one. Raises FILE_MISSING, FILE_UNREADABLE."""
    if task.brain is None:
        return []
    try:
        return [task.brain.identity()]
    except FileNotFoundError:
        how_to_fix = "check the pattern of --mask: {case} stands for the case's name"
        raise MedsegError(Code.FILE_MISSING, task.brain.file, "no mask there", how_to_fix) from None
    except OSError as error:
        raise affine_checks.refusal_to_open(task.file, error) from error


@contextmanager
def lock(out: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the folder of results while the block runs.

    Raises WORK_IN_USE if another command holds it, and still does after ``wait_s`` seconds.
    """
    details = "another medseg command is writing label maps there"
    how_to_fix = "wait for it to end, or name another folder"
    with files.hold_lock(out / ".lock", out, details, how_to_fix, wait_s):
        yield
