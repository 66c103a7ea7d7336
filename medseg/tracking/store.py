"""The store of runs: a sqlite file inside the work folder, or any MLflow server by its URI.

The store of a work folder is `W/mlflow.db` with its files in `W/mlartifacts`. MLflow writes absolute paths
into it; :func:`relocate` makes a copied or moved folder whole again.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import filelock

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.redaction import redact_text, redacted
from medseg.tracking import empty_store

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_SQLITE = "sqlite:///"

_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# MLflow's own defaults wait minutes for a server that is gone; a training must not.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
_IMPATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

_PACKAGES = {
    "MySQLdb": "mysqlclient",
    "psycopg2": "psycopg2-binary",
    "azure": "azure-storage-blob",
    "google": "google-cloud-storage",
}
"""Modules of drivers and storages whose packages have other names."""

_ABSOLUTE = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


def client(uri: str) -> Any:
    """Make an MlflowClient of the store at `uri`; it opens a sqlite store. See :func:`prepare`."""
    silence()
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is said in one line by us
    return MlflowClient(uri, registry_uri=uri)


def silence() -> None:
    """Switch MLflow's telemetry off and its long waits down; called before each first import of it."""
    os.environ.update(_SILENCE)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)


def local_uri(work: Path) -> str:
    """Give the URI of a work folder's own store. Raises USAGE if the path cannot stand in a URI."""
    path = work.resolve()
    if set("?%") & set(str(path)):
        raise MedsegError(
            Code.USAGE,
            path,
            "`?` and `%` cannot stand in the path of an MLflow store",
            "choose another --work",
        )
    return f"{_SQLITE}{path / DATABASE}"


def artifact_root(work: Path) -> str:
    """Give the URI under which a work folder's own store keeps its files."""
    return (work.resolve() / ARTIFACTS).as_uri()


def is_local(uri: str) -> bool:
    """True if `uri` names a sqlite store, not a server."""
    return uri.startswith(_SQLITE)


def is_own(uri: str, work: Path) -> bool:
    """True if `uri` names the store inside the work folder, which no other folder writes to."""
    return is_local(uri) and Path(uri.removeprefix(_SQLITE)) == work.resolve() / DATABASE


def artifacts_beside(uri: str) -> str | None:
    """Give the place for the files of a new experiment of a sqlite store; None leaves it to the server."""
    return artifact_root(Path(uri.removeprefix(_SQLITE)).parent) if is_local(uri) else None


def prepare(work: Path) -> str:
    """Create, migrate and relocate the work folder's own store, once, under a lock; returns its URI."""
    uri = local_uri(work)
    with _locked(work):
        if not (work / DATABASE).is_file():
            _create(work)
        relocate(work)
        _migrate(work, uri)
    return uri


def _create(work: Path) -> None:
    """Make the store under another name: a kill amid migrations would leave one that MLflow cannot open."""
    with files.written_aside(work / DATABASE) as part:
        if not empty_store.copy_to(part):
            part.unlink(missing_ok=True)
            _make_empty(part)
            empty_store.keep(part)


def _make_empty(database: Path) -> None:
    """Have MLflow make a database without experiments that can be used."""
    fresh = client(f"{_SQLITE}{database.resolve()}")
    default = fresh.search_experiments(filter_string="name = 'Default'")
    if default and default[0].experiment_id == "0":
        # MLflow's own empty experiment: its files would lie in whatever folder one stands in.
        fresh.delete_experiment("0")
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (f"file:///{ARTIFACTS}/0",))


def _migrate(work: Path, uri: str) -> None:
    silence()
    from mlflow.exceptions import MlflowException

    try:
        client(uri).search_experiments(max_results=1)
    except MlflowException as error:
        if "out-of-date database schema" not in str(error):
            raise
        upgrade(work)


def upgrade(work: Path) -> None:
    """Bring the store of a work folder to the schema of the MLflow that is installed."""
    command = [sys.executable, "-P", "-m", "mlflow", "db", "upgrade", local_uri(work)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **_SILENCE}, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MedsegError(
            Code.TRACKING_UNREACHABLE, work / DATABASE, last, "move the file away to begin a new one"
        )


def relocate(work: Path, beside: Path | None = None) -> int:
    """Point the store of a copied or moved work folder at the files beside it; returns the rows changed.

    With `beside` at the files of that work folder.

    MLflow keeps absolute paths in four tables. Every one that ends in `…/mlartifacts` or lies below it gets
    the folder's present place in front; anything else is left alone.
    """
    database = work / DATABASE
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        root = artifact_root(beside or work)
        return sum(_repoint(connection, table, column, root) for table, column in _ABSOLUTE)


def _repoint(connection: sqlite3.Connection, table: str, column: str, root: str) -> int:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    if column not in columns:
        return 0
    rows = connection.execute(
        f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file:%'"
    ).fetchall()
    moved = [(new, old) for (old,) in rows if (new := _moved(old, root)) != old]
    for pair in moved:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", pair)
    return len(moved)


def _moved(location: str, root: str) -> str:
    # Below the root lie run ids, "models" and model ids only, so the last "/mlartifacts" is the root's own.
    _, separator, below = location.rpartition(f"/{ARTIFACTS}")
    return root + below if separator and (not below or below.startswith("/")) else location


def check(uri: str) -> None:
    """Ask the store at `uri` for an answer, within seconds.

    Raises TRACKING_UNREACHABLE; EXTRA_MISSING, by its name, if the driver of its database is not installed.
    """
    silence()
    with _environment(_IMPATIENCE):
        try:
            client(uri).search_experiments(max_results=1)
        except ImportError as error:
            package = package_of(error)
            details = f"this store needs the package {package}"
            raise MedsegError(Code.EXTRA_MISSING, redacted(uri), details, f"pip install {package}") from None
        except Exception as error:  # MLflow's, and whatever its drivers raise
            raise unreachable(uri, error) from None


def unreachable(uri: str, error: Exception) -> MedsegError:
    """Make the refusal that names a store without the password its URI may hold."""
    how_to_fix = "start the server, correct tracking.uri, or leave it out to keep the runs in the work folder"
    return MedsegError(Code.TRACKING_UNREACHABLE, redacted(uri), reason(error), how_to_fix)


def reason(error: BaseException) -> str:
    """Shorten an error of MLflow to one line of at most 200 characters without passwords."""
    return redact_text(" ".join(str(error).split()) or type(error).__name__)[:200]


def package_of(error: ImportError) -> str:
    """Name the package whose absence an import error tells of, as pip installs it."""
    named = re.search(r"No module named '([\w.]+)'", str(error))
    module = (error.name or (named[1] if named else "") or "that it names").partition(".")[0]
    return _PACKAGES.get(module, module)


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    work.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(work / ".mlflow.lock"):
        yield


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class StorageError(Exception):
    """An error of whatever keeps a store's files; its cause is the library's own."""


@contextmanager
def storing() -> Iterator[None]:
    """Turn any exception into StorageError: libraries of clouds raise types of their own, or are absent."""
    try:
        yield
    except Exception as error:
        raise StorageError(reason(error)) from error
