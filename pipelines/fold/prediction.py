"""One case of the predict stage as a unit of work: skip or read, predict, write; in any process."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from medseg.device import choose
from medseg.errors import Code, Finding, MedsegError
from medseg.infer import batch, loading
from medseg.infer.batch import Outcome, Task
from medseg.infer.loading import Model
from medseg.model import folder as model_folder
from pipelines.execution import lost
from pipelines.execution.steps import Ended, Steps, Work

Members = tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """A case, the members that predict it, and the hash of all that its result is made from."""

    task: Task
    members: Members
    key: str


@dataclass(frozen=True)
class Asked:
    """All that the steps need beside the cases: the model, a recipe's device, settings, threads."""

    model: Path
    model_sha256: str
    device: str
    settings: batch.Settings
    threads: int | None


@dataclass(frozen=True, eq=False)
class _Started:
    unit: Unit
    case: batch.Started


def work(asked: Asked) -> Work[Unit, Outcome]:
    """The unit of work, for an engine; a lost case has the outcome `excluded`."""
    return Work(partial(make, asked), partial(_lost, asked), lambda unit: unit.task.label.parent)


def make(asked: Asked) -> Steps[Unit, Outcome]:
    """Make the steps in a process; networks are loaded when the first case needs them."""
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    case_steps = _CaseSteps(asked)
    return Steps(case_steps.read, case_steps.compute, case_steps.write)


class _CaseSteps:
    """The steps of a case; a refusal ends the stage, and an earlier result is then left as it was."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._device = choose(asked.device)
        self._description = model_folder.read(asked.model).description
        self._models: dict[Members, Model] = {}
        self._loading = threading.Lock()

    def read(self, unit: Unit) -> _Started | Ended[Outcome]:
        masks, settings = self._description.class_list().masks, self._asked.settings
        if (outcome := batch.up_to_date(unit.task, unit.key, masks, settings)) is not None:
            return Ended(outcome)
        return _Started(unit, batch.start(unit.task, unit.key, self._description, settings))

    def compute(self, started: _Started) -> batch.Computed:
        return batch.compute(started.case, self._loaded(started.unit.members), self._asked.settings)

    def write(self, computed: batch.Computed) -> Outcome:
        return batch.write(computed, self._description, self._asked.settings)

    def _loaded(self, members: Members) -> Model:
        """The networks of these members; refused if the folder has changed meanwhile: MODEL_TAMPERED."""
        asked = self._asked
        with self._loading:
            if members not in self._models:
                if loading.identity(asked.model) != asked.model_sha256:
                    details = "it has changed since the stage began"
                    raise MedsegError(Code.MODEL_TAMPERED, asked.model, details, "run the command again")
                self._models[members] = loading.load(asked.model, self._device, members=members)
            return self._models[members]


def _lost(asked: Asked, unit: Unit, finding: Finding) -> Outcome:
    """The outcome of a case that ran over a limit, or whose process died."""
    masks = model_folder.read(asked.model).description.class_list().masks
    return batch.excluded(unit.task, masks, lost.of_case(unit.task.case, finding), unit.key)
