"""`failures.json` of `medseg segment`: cases that failed, so that a second run does not try them in vain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.infer.batch import Outcome, Task
from pipelines.commands import segment_steps
from pipelines.commands.segment_steps import Asked

NAME = "failures.json"


def read(out: Path) -> dict[str, dict[str, str]]:
    """The failures of earlier runs by case; none where the file is absent or damaged."""
    try:
        failures = files.read_json(out / NAME)
    except (OSError, ValueError):
        return {}
    wanted = {"key", "code", "details", "how_to_fix"}
    if not isinstance(failures, dict):
        return {}
    return {
        str(case): row
        for case, row in failures.items()
        if isinstance(row, dict)
        and row.keys() == wanted
        and all(isinstance(cell, str) for cell in row.values())
        and row["code"] in Code.__members__
    }


def write(out: Path, asked: Asked, ended: Iterable[tuple[Task, Outcome]]) -> None:
    """Keep the failures of this run, and those of earlier runs whose cases were not among its inputs."""
    failures: dict[str, Mapping[str, str]] = dict(read(out))
    for task, outcome in ended:
        failures.pop(task.case, None)
        finding = outcome.finding
        if finding is None or finding.code in segment_steps.TO_TRY_AGAIN:
            continue
        try:
            key = segment_steps.failure_key(task, outcome.key, asked, finding.code)
        except MedsegError:
            continue  # it cannot even be read: it is tried again
        failures[task.case] = {
            "key": key,
            "code": str(finding.code),
            "details": finding.details.partition("; the earlier result ")[0],
            "how_to_fix": finding.how_to_fix,
        }
    if failures or (out / NAME).exists():
        files.write_json(out / NAME, dict(sorted(failures.items())))
