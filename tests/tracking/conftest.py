from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking import store
from medseg.tracking.tracker import Tracker

# MLflow still uses what the newest SQLAlchemy and pandas deprecate.
_OF_MLFLOW = (
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    "ignore:Operation with range is deprecated:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(*_OF_MLFLOW))


@pytest.fixture(scope="session")
def empty_store_of_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow's own migrations made for this session."""
    database = tmp_path_factory.mktemp("made") / "empty.db"
    store._make_empty(database)
    return database


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a migrated store, made once: a fresh one costs seconds."""
    work = tmp_path_factory.mktemp("empty") / "work"
    store.prepare(work)
    return work


@pytest.fixture
def work(empty_store: Path, tmp_path: Path) -> Path:
    """A work folder of the test's own, under a name that needs care in URIs."""
    folder = tmp_path / "wörk #1"
    shutil.copytree(empty_store, folder)
    store.prepare(folder)
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def tracker(work: Path, said: list[str]) -> Iterator[Tracker]:
    """A tracker of the work folder's own store that must not have to say anything."""
    yield Tracker(store.local_uri(work), work, "demo", warn=said.append)
    assert said == []


@pytest.fixture
def client(work: Path) -> Any:
    return store.client(store.local_uri(work))
