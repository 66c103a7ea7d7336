"""The empty database that is kept for later equals what MLflow's own migrations make."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from medseg.tracking import empty_store, store


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(empty_store.CACHE, str(folder))
    return folder


def _content(database: Path) -> dict[str, list[Any]]:
    """The schema as SQL, and the rows of every table."""
    with closing(sqlite3.connect(database)) as connection:
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        names = [name for kind, name, *_ in schema if kind == "table"]
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    return {"schema": schema, **rows}


def test_a_copy_is_what_mlflow_makes_by_its_migrations(
    empty_store_of_mlflow: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_store.keep(empty_store_of_mlflow)
    monkeypatch.setattr(store, "_make_empty", lambda _path: pytest.fail("made anew"))
    work = tmp_path / "work"
    client = store.client(store.prepare(work))
    made, copied = _content(empty_store_of_mlflow), _content(work / store.DATABASE)
    assert len(made["schema"]) > 100
    for content in (made, copied):  # its times and its place are not those of the other
        content["experiments"] = [(row[0], row[1], row[3], row[6]) for row in content["experiments"]]
    assert copied == made
    assert client.search_experiments() == []
    assert cache.is_dir()


def test_the_copy_names_no_folder_of_another_one(empty_store_of_mlflow: Path, tmp_path: Path) -> None:
    content = empty_store_of_mlflow.read_bytes()
    assert str(Path.cwd()).encode() not in content
    assert str(tmp_path.parent).encode() not in content


def test_a_damaged_copy_is_removed_and_not_used(cache: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    whole.write_bytes(bytes(range(256)) * 40)
    empty_store.keep(whole)
    (kept,) = cache.iterdir()
    assert empty_store.copy_to(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == whole.read_bytes()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert not empty_store.copy_to(tmp_path / "b.db")
    assert not kept.exists()


def test_that_of_another_version_is_not_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole.db").write_bytes(b"content")
    empty_store.keep(tmp_path / "whole.db")
    monkeypatch.setattr(empty_store.metadata, "version", lambda _name: "0.1")
    assert not empty_store.copy_to(tmp_path / "a.db")
    assert len(list(cache.iterdir())) == 1


def test_without_a_cache_nothing_is_kept(cache: Path, tmp_path: Path) -> None:
    cache.write_text("a file where the folder would be")
    (tmp_path / "whole.db").write_bytes(b"content")
    empty_store.keep(tmp_path / "whole.db")
    assert not empty_store.copy_to(tmp_path / "a.db")


def test_the_cache_is_where_systems_keep_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(empty_store.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert empty_store.cache_folder() == tmp_path / "medseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert empty_store.cache_folder() == tmp_path / ".cache" / "medseg"
