"""Tables of `medseg segment`: `summary.csv`, `summary.html`, `quarantine.csv`, `run.json`; also of shards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import results
from medseg.infer.batch import Outcome, Task
from medseg.ingest import quarantine
from medseg.ingest.label_templates import counted_as
from medseg.model.description import Description
from pipelines.commands import segment_kept, segment_page
from pipelines.commands.segment_inputs import Inputs
from pipelines.execution.engines import Shard

NOT_RUN = "not run"
"""Status of a case that a run which was stopped had not come to."""

_EVERY_S = 5.0
"""Seconds at least between two writings of tables that grow."""

_COST = 50
"""Times that a writing took, at least, until the next."""

SHARDS = "shards"
"""Folder with the tables of each shard."""

_OF_SERIES = ("seg", "series")


@dataclass(frozen=True)
class Run:
    """A run's inputs, what became of them (None: not run), and what else `run.json` says of it.

    `kept` are rows of earlier results whose inputs are not among these.
    """

    inputs: Inputs
    outcomes: Sequence[Outcome | None]
    description: Description
    facts: Mapping[str, Any]
    private: bool
    kept: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Tables:
    """Rows of `summary.csv` under its columns, rows of `quarantine.csv`, and the content of `run.json`."""

    columns: Sequence[str]
    sizes: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    excluded: Sequence[quarantine.Row]
    run: Mapping[str, Any]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that these rows mean."""
        status = Counter(row["status"] for row in self.rows)
        if self.run["inputs"] and status["excluded"] == self.run["inputs"]:
            return ExitCode.NOTHING_USABLE
        lacking = status["excluded"] or status["SEG failed"] or status[NOT_RUN]
        return ExitCode.SOME_EXCLUDED if lacking else ExitCode.DONE

    def words(self) -> str:
        """The number of inputs by outcome."""
        counts = {status: n for status, n in self.run["counts"].items() if status != segment_kept.STATUS}
        words = ", ".join(f"{n} {status}" for status, n in counts.items())
        kept = self.run["counts"].get(segment_kept.STATUS)
        of_others = f" {counted_as(kept, 'result')} of other inputs kept." if kept else ""
        return f"{counted_as(self.run['inputs'], 'input')}: {words}.{of_others}"


class Growing:
    """Tables that appear with the first outcome and grow; not written so often that it takes time."""

    def __init__(self, write: Callable[[], object]) -> None:
        self._write = write
        self._due = 0.0

    def grow(self) -> None:
        """Write the tables if it is time."""
        began = time.monotonic()
        if began < self._due:
            return
        self._write()
        ended = time.monotonic()
        self._due = ended + max(_EVERY_S, _COST * (ended - began))


def tables_of(run: Run, out: Path) -> Tables:
    """Make the tables of a run; raises DOES_NOT_ADD_UP unless each file and case has its row."""
    _must_add_up(run, out)
    classes, size_unit = run.description.class_list(), results.SIZE_UNITS[run.inputs.unit]
    columns = _columns(run)
    of_series = any(case.task.series for case in run.inputs.cases)
    rows, excluded = [], []
    for case, outcome in zip(run.inputs.cases, run.outcomes, strict=True):
        rows.append(_row(case.task, outcome, run, of_series=of_series))
        if outcome is not None and outcome.finding is not None:
            excluded.append(quarantine.row(case.task.case, outcome.finding, case.task.file))
    rows += [{**row, "seg": "", "series": ""} if of_series else dict(row) for row in run.kept]
    counts = Counter(str(row["status"]) for row in rows)
    left_out = run.inputs.left_out
    facts = {
        "medseg": medseg.__version__,
        **run.facts,
        "inputs": len(run.outcomes),
        "counts": dict(sorted(counts.items())),
        "left_out": len(left_out) if run.private else [str(path) for path in left_out],
    }
    columns += _OF_SERIES if of_series else ()
    sizes = [f"{name}_{size_unit}" for name in classes.foreground_names]
    return Tables(columns, sizes, rows, excluded, facts)


def _columns(run: Run) -> list[str]:
    calibrated = run.description.calibration is not None
    unit = results.SIZE_UNITS[run.inputs.unit]
    return results.table_columns(run.description.class_list(), unit, calibrated=calibrated)


def _row(task: Task, outcome: Outcome | None, run: Run, *, of_series: bool) -> dict[str, Any]:
    classes, size_unit = run.description.class_list(), results.SIZE_UNITS[run.inputs.unit]
    if outcome is None:
        row = dict.fromkeys(_columns(run))
        row |= {"case": task.case, "file": str(task.file), "status": NOT_RUN}
    else:
        metadata = {"size_unit": size_unit, **outcome.metadata}
        row = results.table_row(task.case, task.file, outcome.status, metadata, outcome.finding, classes)
    if of_series:
        row["seg"] = outcome.metadata.get("seg") if outcome is not None else None
        row["series"] = task.case_info.get("series")
    return row


def _must_add_up(run: Run, out: Path) -> None:
    cases = run.inputs.cases
    sources = [source for case in cases for source in case.task.channels.values()]
    used = {source.resolve() for source in sources if isinstance(source, Path)}
    if used != {path.resolve() for path in run.inputs.files} or len(run.outcomes) != len(cases):
        details = (
            f"{len(run.inputs.files)} files, {len(used)} of them in {len(cases)} cases, "
            f"{len(run.outcomes)} of which ended"
        )
        raise MedsegError(Code.DOES_NOT_ADD_UP, out, details, "please report this with medseg.log")


def write(tables: Tables, out: Path) -> None:
    """Write all tables of a run on all its inputs; those of earlier shards are removed."""
    for path in (out / SHARDS).glob("*.json"):
        path.unlink()
    _write(tables, out)


def write_shard(tables: Tables, shard: Shard, out: Path) -> Tables:
    """Keep a shard's tables and write those of all shards that have ended; give these.

    Tables of a division into another number of shards are removed. One shard at a time may come here.
    """
    folder = out / SHARDS
    for path in folder.glob("*.json"):
        if not path.stem.endswith(f"-of-{shard.count}"):
            path.unlink()
    content = {
        "columns": [*tables.columns],
        "sizes": [*tables.sizes],
        "rows": [*tables.rows],
        "excluded": [*tables.excluded],
        "run": tables.run,
    }
    files.write_json(folder / f"{shard.number}-of-{shard.count}.json", content)
    parts = [Tables(**files.read_json(path)) for path in sorted(folder.glob("*.json"))]
    together = _joined(parts, shard)
    _write(together, out)
    return together


def _joined(parts: Sequence[Tables], shard: Shard) -> Tables:
    rows = sorted((row for part in parts for row in part.rows), key=lambda row: str(row["case"]))
    excluded = sorted((row for part in parts for row in part.excluded), key=lambda row: str(row["case"]))
    counts = Counter(str(row["status"]) for row in rows)
    run = {
        **parts[0].run,
        "inputs": sum(part.run["inputs"] for part in parts),
        "counts": dict(sorted(counts.items())),
        "shards": f"{len(parts)} of {shard.count} have ended",
    }
    columns = max((part.columns for part in parts), key=len)
    return Tables(columns, parts[0].sizes, rows, excluded, run)


def _write(tables: Tables, out: Path) -> None:
    files.write_csv(out / "summary.csv", tables.columns, tables.rows)
    quarantine.write(out / "quarantine.csv", tables.excluded)
    files.write_json(out / "run.json", tables.run)
    how_to_fix = {str(row["case"]): row["how_to_fix"] for row in tables.excluded}
    rows = [{**row, "how_to_fix": how_to_fix.get(str(row["case"]), "")} for row in tables.rows]
    facts = [f"model {tables.run['model_name']}", f"medseg {tables.run['medseg']}", tables.words()]
    files.write_text(out / "summary.html", segment_page.page(rows, tables.sizes, facts, out, _colours(out)))


def _colours(out: Path) -> dict[str, list[int]]:
    """Class → colour (RGB, 0-255), by the list beside the label maps."""
    listed = out / "labels.json"
    return {row["name"]: row["colour"] for row in files.read_json(listed)} if listed.is_file() else {}
