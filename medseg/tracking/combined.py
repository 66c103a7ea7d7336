"""Several work folders' stores as one, so that MLflow shows their runs side by side and compares them.

The combined store is a sqlite file of its own. Runs are copied row by row with their ids, times and scores;
files stay where they lie. The work folders' stores are only read.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medseg.errors import Code, MedsegError
from medseg.tracking import experiments, store

_OF_RUNS = ("metrics", "latest_metrics", "params", "tags")
"""Tables whose rows belong to a run by `run_uuid`."""

_OF_MODELS = ("logged_model_metrics", "logged_model_params", "logged_model_tags")
"""Tables whose rows belong to a logged model by `model_id`."""

_OF_REGISTRY = (
    "registered_models",
    "registered_model_tags",
    "model_versions",
    "model_version_tags",
    "registered_model_aliases",
)
_KEPT = {"alembic_version", "workspaces"}

Row = dict[str, object]
Stamp = tuple[int, int]


@dataclass
class Combined:
    """A store in `folder` of the runs of `works`, which :meth:`refresh` brings up to date."""

    works: Sequence[Path]
    folder: Path
    unread: dict[Path, str] = field(default_factory=dict)
    """Work folders whose store cannot be read, each with the reason; their runs are left out."""
    _stamps: dict[Path, Stamp | None] = field(default_factory=dict)

    def create(self) -> str:
        """Make the store with all runs; returns its URI. Raises TRACKING_UNREACHABLE if none can be read."""
        newest_first = sorted(
            self.works, key=lambda work: _stamp(work / store.DATABASE) or (0, 0), reverse=True
        )
        for work in newest_first:  # the first that can be read gives the schema
            try:
                _copy(work / store.DATABASE, self.folder / store.DATABASE)
                with closing(sqlite3.connect(self.folder / store.DATABASE)) as target:
                    _schema(target)
                    target.execute("PRAGMA journal_mode = WAL")  # MLflow can read while runs are read again
                uri = store.prepare(self.folder)
            except (sqlite3.Error, MedsegError) as error:
                self.unread[work] = store.reason(error)
                (self.folder / store.DATABASE).unlink(missing_ok=True)
                continue
            self.refresh()
            return uri
        where, reasons = ", ".join(map(str, self.works)), "; ".join(dict.fromkeys(self.unread.values()))
        how_to_fix = f"move {store.DATABASE} away and run the recipe again there"
        raise MedsegError(Code.TRACKING_UNREACHABLE, where, reasons, how_to_fix)

    def refresh(self) -> list[Path]:
        """Read all runs again if a work folder's store has changed; returns the folders that changed.

        MLflow may serve the store meanwhile: it sees the runs before or after, never a part.
        """
        stamps = {work: _stamp(work / store.DATABASE) for work in self.works}
        changed = [work for work, stamp in stamps.items() if self._stamps.get(work) != stamp]
        if changed:
            there = [work for work in self.works if stamps[work] is not None]
            self._read_all(sorted(there, key=lambda work: stamps[work] or (0, 0)))
            self._stamps = stamps
        return changed

    def _read_all(self, works: Sequence[Path]) -> None:
        """Fill the store anew from the stores of `works`, the oldest first."""
        with ExitStack() as stack:
            target = stack.enter_context(closing(sqlite3.connect(self.folder / store.DATABASE, timeout=60)))
            target.row_factory = sqlite3.Row
            imports = []
            self.unread = {}
            for work in works:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder)))
                try:
                    _copy_up_to_date(work, scratch, _schema(target))
                except (sqlite3.Error, MedsegError) as error:
                    self.unread[work] = store.reason(error)
                    continue
                source = stack.enter_context(closing(sqlite3.connect(scratch / store.DATABASE)))
                source.row_factory = sqlite3.Row
                imports.append(_Import(source, target))
            with target:
                _empty(target)
                for one in reversed(imports):  # of a copied folder's runs the newer stay
                    one.runs()
                for one in imports:  # so that the newest version has the highest number
                    one.registry()


def _schema(database: sqlite3.Connection) -> str:
    """Give the name of the last change to a store's schema. Raises sqlite3.Error for what is no store."""
    row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("no store of MLflow")
    return str(row[0])


def _copy_up_to_date(work: Path, folder: Path, schema: str) -> None:
    """Copy a work folder's store, with the present schema and the present paths of its files."""
    _copy(work / store.DATABASE, folder / store.DATABASE)
    with closing(sqlite3.connect(folder / store.DATABASE)) as copied:
        of_copy = _schema(copied)
    if of_copy != schema:
        store.upgrade(folder)
    store.relocate(folder, work)


def _copy(database: Path, place: Path) -> None:
    """Copy a sqlite file that others may be writing to, as of one moment."""
    with (
        closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as source,
        closing(sqlite3.connect(place)) as target,
    ):
        source.backup(target)


def _stamp(database: Path) -> Stamp | None:
    """Give a cheap sign that a database is unchanged; None if it is gone."""
    try:
        stat = database.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _empty(target: sqlite3.Connection) -> None:
    names = [row[0] for row in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        if name not in _KEPT and not name.startswith("sqlite_"):
            target.execute(f"DELETE FROM {name}")


class _Import:
    """Copies runs, models and their registry from one store into another that may hold some of them."""

    def __init__(self, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        self._source, self._target = source, target
        self._experiments: dict[object, object] = {}
        self._new: set[object] = set()

    def runs(self) -> None:
        """Copy runs and models; a run that is there, as of a copied work folder, is left as it is."""
        self._experiments = {row["experiment_id"]: self._experiment(row) for row in self._rows("experiments")}
        known = self._keys("runs", "run_uuid")
        runs = [row for row in self._rows("runs") if row["run_uuid"] not in known]
        self._insert("runs", runs)
        new = {row["run_uuid"] for row in runs}
        for table in _OF_RUNS:
            self._insert(table, [row for row in self._rows(table) if row["run_uuid"] in new])
        models = [row for row in self._rows("logged_models") if row["source_run_id"] in new]
        self._insert("logged_models", models)
        model_ids = {row["model_id"] for row in models}
        for table in _OF_MODELS:
            self._insert(table, [row for row in self._rows(table) if row["model_id"] in model_ids])
        self._inputs(new)
        self._new = new

    def _experiment(self, row: Row) -> object:
        """Give the id of the experiment of the same name, which is made if need be."""
        known = self._target.execute(
            "SELECT experiment_id FROM experiments WHERE name = ?", (row["name"],)
        ).fetchone()
        if known is not None:
            return known[0]
        (number,) = self._target.execute("SELECT coalesce(max(experiment_id), 0) FROM experiments").fetchone()
        new = row["experiment_id"] if row["experiment_id"] == 0 else number + 1
        self._insert("experiments", [{**row, "experiment_id": new}], mapped=False)
        tags = [tag for tag in self._rows("experiment_tags") if tag["experiment_id"] == row["experiment_id"]]
        tags += [
            {"key": key, "value": value} for key, value in experiments.tags().items()
        ]  # the present view
        rows = [{**tag, "experiment_id": new} for tag in tags]
        self._insert("experiment_tags", rows, mapped=False, or_else="REPLACE")
        return new

    def _inputs(self, runs: set[object]) -> None:
        """Copy data sets and the links of runs to data sets and models; equal data sets become one."""
        places: dict[object, object] = {}
        for row in self._mapped(self._rows("datasets")):
            key = (row["experiment_id"], row["name"], row["digest"])
            known = self._target.execute(
                "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?", key
            ).fetchone()
            places[row["dataset_uuid"]] = row["dataset_uuid"] if known is None else known[0]
            if known is None:
                self._insert("datasets", [row], mapped=False)
        links = [
            {**row, "source_id": places.get(row["source_id"], row["source_id"])}
            for row in self._rows("inputs")
            if runs & {row["source_id"], row["destination_id"]}
        ]
        self._insert("inputs", links)
        ids = {row["input_uuid"] for row in links}
        self._insert("input_tags", [row for row in self._rows("input_tags") if row["input_uuid"] in ids])

    def registry(self) -> None:
        """Copy registered models; versions of a name that is there get the numbers after its last one."""
        versions = [row for row in self._rows("model_versions") if row["run_id"] in self._new]
        names = {row["name"] for row in versions}
        shift = {
            name: self._target.execute(
                "SELECT coalesce(max(version), 0) FROM model_versions WHERE name = ?", (name,)
            ).fetchone()[0]
            for name in names
        }
        new = {(row["name"], row["version"]) for row in versions}
        for table in _OF_REGISTRY:
            rows = [row for row in self._rows(table) if row["name"] in names]
            if "version" in self._columns(table):
                rows = [
                    {**row, "version": int(str(row["version"])) + shift[row["name"]]}
                    for row in rows
                    if (row["name"], row["version"]) in new
                ]
            self._insert(table, rows, or_else="REPLACE")  # an alias goes to the newest

    def _rows(self, table: str) -> list[Row]:
        if not self._columns(table, self._source):
            return []
        return [dict(row) for row in self._source.execute(f"SELECT * FROM {table}")]

    def _keys(self, table: str, column: str) -> set[object]:
        return {row[0] for row in self._target.execute(f"SELECT {column} FROM {table}")}

    def _columns(self, table: str, of: sqlite3.Connection | None = None) -> list[str]:
        return [row[1] for row in (of or self._target).execute(f"PRAGMA table_info({table})")]

    def _mapped(self, rows: Sequence[Row]) -> list[Row]:
        """Give rows with the combined store's numbers of experiments."""
        return [
            {**row, "experiment_id": self._experiments[row["experiment_id"]]}
            if "experiment_id" in row
            else dict(row)
            for row in rows
        ]

    def _insert(
        self,
        table: str,
        rows: Sequence[Mapping[str, object]],
        *,
        mapped: bool = True,
        or_else: Literal["IGNORE", "REPLACE"] = "IGNORE",
    ) -> None:
        if not rows:
            return
        present = self._mapped([dict(row) for row in rows]) if mapped else [dict(row) for row in rows]
        columns = [name for name in self._columns(table) if name in present[0]]
        marks = ", ".join("?" for _ in columns)
        self._target.executemany(
            f"INSERT OR {or_else} INTO {table} ({', '.join(columns)}) VALUES ({marks})",
            [tuple(row[name] for name in columns) for row in present],
        )
