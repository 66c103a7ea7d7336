"""A unit of work in three steps, which engines may overlap in time: read, compute, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from medseg.errors import Finding

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Step = Literal["read", "compute", "write"]


@dataclass(frozen=True)
class Ended(Generic[Outcome]):
    """The outcome of a unit that ended before its last step: skipped, or refused."""

    outcome: Outcome


@dataclass(frozen=True)
class Steps(Generic[Task, Outcome]):
    """The three steps of a unit of work; what one returns is given to the next.

    ``read`` and ``compute`` may return :class:`Ended`. Refusals of one task are outcomes; what a step raises
    ends the whole run.
    """

    read: Callable[[Task], Any]
    compute: Callable[[Any], Any]
    write: Callable[[Any], Outcome]


@dataclass(frozen=True)
class Work(Generic[Task, Outcome]):
    """Work for an engine: ``make`` gives the steps, once in each process; it can be pickled.

    ``lost`` is called for tasks that ran over a limit or whose process died; ``folder_of`` names the folder
    in which a task's files are written aside: what a dead process leaves there is removed.
    """

    make: Callable[[], Steps[Task, Outcome]]
    lost: Callable[[Task, Finding], Outcome]
    folder_of: Callable[[Task], Path] | None = None
