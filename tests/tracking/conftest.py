from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medseg.tracking import store

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
