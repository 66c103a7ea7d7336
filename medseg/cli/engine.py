"""Options of the engine that works on the cases of a stage, shared by the commands that have such stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.exits import keep_until_end
from medseg.errors import Code, MedsegError

if TYPE_CHECKING:
    from pipelines.execution.engines import Execution

_PANEL = "Engine"

Workers = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=_PANEL,
        help="Worker processes on this machine for the cases of ingest, preprocess, predict and evaluate. 0 "
        "works in this process, without limits.",
    ),
]
Executor = Annotated[
    Literal["local", "dask"],
    typer.Option(
        rich_help_panel=_PANEL, help="Where cases are worked on: here, or by the workers of a Dask scheduler."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", rich_help_panel=_PANEL, help="The Dask scheduler, `tcp://HOST:PORT`."),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=_PANEL,
        help="Time that a worker has for each step (read, compute, write) of a case; on Dask for the whole "
        "case. 0 for no limit.",
    ),
]
TIME_LIMIT_S = 1800.0


_UNITS = {
    "preprocess": "pipelines.prepared_case",
    "predict": "pipelines.fold.prediction",
    "evaluate": "pipelines.scored_case",
    "segment": "pipelines.commands.segment_steps",
}
"""The module of each command's unit of work, with all that it imports."""


def start_early(command: str, workers: int) -> None:
    """Start workers, which import what they need while this process imports what the command needs."""
    from pipelines.execution.worker_process import started_early

    keep_until_end(started_early(workers, _UNITS[command]))


def execution(
    workers: int, executor: Literal["local", "dask"], scheduler: str | None, seconds: float
) -> Execution:
    """The engine that the options name. Raises USAGE for options that do not go together."""
    from pipelines.execution.engines import Execution
    from pipelines.execution.limits import Limits, share_of_memory

    if executor == "dask" and workers:
        how_to_fix = "leave --workers out; the cluster has workers of its own"
        raise MedsegError(Code.USAGE, "--workers", "it counts processes of this machine", how_to_fix)
    memory = share_of_memory(workers) if workers else None
    return Execution(workers, executor, scheduler, Limits(seconds or None, memory))
