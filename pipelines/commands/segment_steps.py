"""One case of `medseg segment` as a unit of work: skip or read, predict, write; in any process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

import medseg
from medseg import files
from medseg.errors import Code, Finding, MedsegError
from medseg.infer import batch, loading
from medseg.infer.batch import Outcome, Task
from medseg.infer.loading import Model, Numerics
from medseg.model import folder as model_folder
from medseg.model.description import Description
from pipelines.execution.steps import Ended, Steps, Work

TO_TRY_AGAIN = frozenset(
    {
        *(Code.FILE_UNREADABLE, Code.FILE_MISSING, Code.PATH_MISSING),
        *(Code.DISK_FULL, Code.NOT_WRITTEN, Code.OUT_OF_MEMORY),
    }
)
"""Codes of what may be mended outside of the scan: such cases are tried again at every run."""

_PASSING = frozenset({Code.TIME_LIMIT, Code.WORKER_KILLED})
"""Codes whose outcome depends on the machine: remembered for the same limits."""


@dataclass(frozen=True)
class Asked:
    """All that decides outcomes but the scans: the model, the settings, the limits of a case.

    ``earlier`` are the failures of earlier runs by case, to be taken over where nothing has changed.
    """

    model: Path
    model_sha256: str
    device: str
    settings: batch.Settings
    numerics: Numerics = field(default_factory=Numerics)
    limits: str = ""
    threads: int | None = None
    anew: bool = False
    """Make results again that are up to date."""
    earlier: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    deadline: Deadline | None = None


@dataclass(frozen=True)
class Deadline:
    """The time (system's clock) at which all is to be written, and the seconds expected for a case."""

    ends: float
    of_case: float


class _OutOfTimeError(Exception):
    """The time is over while a case is computed."""


def work(asked: Asked) -> Work[Task, Outcome | None]:
    """The unit of work, for an engine."""
    return Work(partial(make, asked), partial(_lost, asked), lambda task: task.label.parent)


def make(asked: Asked) -> Steps[Task, Outcome | None]:
    """Make the steps in a process; the model is loaded when the first case needs it."""
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    case_steps = _CaseSteps(asked)
    return Steps(case_steps.read, case_steps.compute, case_steps.write)


def known_outcome(task: Task, asked: Asked) -> Outcome | None:
    """The outcome of a case as far as no scan has to be decoded for it; None for one to be segmented."""
    known = _CaseSteps(asked).known(task)
    return known.outcome if isinstance(known, Ended) else None


def failure_key(task: Task, key: str, asked: Asked, code: str) -> str:
    """The hash of all that a failure depends on; without the case's ``key`` its files are read for it.

    Raises as :func:`batch.content_key` does.
    """
    if not key:
        description = model_folder.read(asked.model).description
        key = batch.content_key(task, description, asked.model_sha256, asked.settings)
    limits = asked.limits if code in _PASSING else ""
    return files.sha256_of_value([key, medseg.__version__, code, asked.settings.accept_domain, limits])


_TO_WRITE_S = 2.0
"""Seconds that are kept for writing a result, or less where cases are small."""
_LONGER = 1.1
"""How much longer than the slowest case so far the next may take."""


class _CaseSteps:
    """The steps of a case; refusals are outcomes, and nothing but a full disk or a fault ends a run."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._description: Description = model_folder.read(asked.model).description
        self._model: Model | None = None
        self._clock = None if asked.deadline is None else _CaseClock(asked.deadline)

    def known(self, task: Task) -> Ended[Outcome] | str:
        """The outcome of a case that needs no network: kept, failed before, not readable; else its key."""
        asked, masks, key = self._asked, self._description.class_list().masks, ""
        try:
            key = batch.content_key(task, self._description, asked.model_sha256, asked.settings)
            if not asked.anew and (outcome := batch.up_to_date(task, key, masks, asked.settings)) is not None:
                return Ended(outcome)
            if (finding := _failed_before(task, key, asked)) is not None:
                return Ended(batch.excluded(task, masks, finding, key))
        except MedsegError as error:
            return self._refused(task, error, key)
        return key

    def read(self, task: Task) -> batch.Started | Ended[Outcome] | Ended[None]:
        if self._clock is not None and self._clock.is_over():
            return Ended(None)
        key = self.known(task)
        if isinstance(key, Ended):
            return key
        if self._clock is not None and not self._clock.has_time():
            return Ended(None)
        try:
            return batch.start(task, key, self._description, self._asked.settings)
        except MedsegError as error:
            return self._refused(task, error, key)

    def compute(self, started: batch.Started) -> batch.Computed | Ended[Outcome] | Ended[None]:
        model = self._loaded()
        progress = None if self._clock is None else self._clock.check
        try:
            return batch.compute(started, model, self._asked.settings, progress)
        except _OutOfTimeError:
            return Ended(None)
        except MedsegError as error:
            return self._refused(started.task, error, started.key)

    def write(self, computed: batch.Computed) -> Outcome:
        try:
            outcome = batch.write(computed, self._description, self._asked.settings)
        except MedsegError as error:
            return self._refused(computed.started.task, error, computed.started.key).outcome
        if self._clock is not None:
            self._clock.learn(outcome.metadata["seconds"])
        return outcome

    def _refused(self, task: Task, error: MedsegError, key: str) -> Ended[Outcome]:
        if error.code is Code.DISK_FULL:
            raise error
        return Ended(batch.excluded(task, self._description.class_list().masks, error.finding, key))

    def _loaded(self) -> Model:
        """The model; refused if its folder has changed since the run began: MODEL_TAMPERED."""
        if self._model is None:
            self._model = loading.load(self._asked.model, self._asked.device, numerics=self._asked.numerics)
            if self._model.sha256 != self._asked.model_sha256:
                details = "it has changed since the run began"
                raise MedsegError(Code.MODEL_TAMPERED, self._asked.model, details, "run the command again")
        return self._model


class _CaseClock:
    """A clock that says if another case would end in time, by those that have ended in this process."""

    def __init__(self, deadline: Deadline) -> None:
        self._ends, self._of_case = deadline.ends, deadline.of_case
        self._to_write = min(_TO_WRITE_S, deadline.of_case)
        self._slowest = 0.0

    def is_over(self) -> bool:
        return time.time() >= self._ends

    def has_time(self) -> bool:
        """True if a case that takes as long as the slowest so far would end in time."""
        return time.time() + (self._slowest or self._of_case) < self._ends

    def check(self, _done: int, _of: int) -> None:
        """Give a case up for which the time is over; called after each slice."""
        if time.time() + self._to_write > self._ends:
            raise _OutOfTimeError

    def learn(self, seconds: Mapping[str, float]) -> None:
        """Take note of a case's seconds by step."""
        self._slowest = max(self._slowest, _LONGER * sum(seconds.values()))


def _failed_before(task: Task, key: str, asked: Asked) -> Finding | None:
    """The finding with which this very case failed in an earlier run."""
    earlier = asked.earlier.get(task.case)
    if earlier is None or earlier["key"] != failure_key(task, key, asked, earlier["code"]):
        return None
    return Finding(Code(earlier["code"]), task.case, earlier["details"], earlier["how_to_fix"])


def _lost(asked: Asked, task: Task, finding: Finding) -> Outcome:
    """The outcome of a case that ran over a limit, or whose process died."""
    masks = model_folder.read(asked.model).description.class_list().masks
    return batch.excluded(task, masks, Finding(finding.code, task.case, finding.details, finding.how_to_fix))
