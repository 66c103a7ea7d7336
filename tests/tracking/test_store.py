from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.tracking import store
from medseg.tracking.tracker import Tracker

SAYS_NOTHING = pytest.fail


def test_importing_the_room_imports_no_mlflow_and_leaves_the_environment() -> None:
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "import medseg.tracking.tracker, medseg.tracking.ui, medseg.tracking.pyfunc\n"
        "assert 'mlflow' not in sys.modules and dict(os.environ) == before"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "importing",
    [
        "from medseg.tracking import store; store.client('sqlite:///:memory:')",
        "from medseg.networks.monai_adapter import monai_class; monai_class('BasicUNet')",
    ],
    ids=["tracking", "monai"],
)
def test_telemetry_is_off_once_mlflow_is_imported(importing: str) -> None:
    code = (
        f"import sys; {importing}\n"
        "assert 'mlflow' in sys.modules\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "assert get_telemetry_client() is None"
    )
    names = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI")  # any of them would do it for us
    environment = {k: v for k, v in os.environ.items() if k not in names and not k.startswith("PYTEST")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_fresh_store_holds_no_experiment_and_leaves_nothing_where_one_stands(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert store.client(store.prepare(work)).search_experiments() == []
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("name", ["what?", "50%"])
def test_a_path_that_cannot_stand_in_a_uri_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MedsegError) as refused:
        store.local_uri(tmp_path / name)
    assert refused.value.code == Code.USAGE


def _database(work: Path) -> sqlite3.Connection:
    return sqlite3.connect(work / store.DATABASE)


def test_a_copied_folder_lists_and_downloads_its_own_artifacts(work: Path, tmp_path: Path) -> None:
    (work / "report.html").write_text("first")
    tracker = Tracker(store.local_uri(work), work, "demo", warn=SAYS_NOTHING)
    run = tracker.start("fold 0")
    run.artifact(work / "report.html")
    run.finish()

    copy = tmp_path / "else where" / "copy"
    shutil.copytree(work, copy)
    shutil.rmtree(work)
    client = store.client(store.prepare(copy))
    found = client.get_run(run.id)
    assert Path(unquote(urlsplit(found.info.artifact_uri).path)).is_relative_to(copy)
    assert [a.path for a in client.list_artifacts(run.id)] == ["report.html"]
    assert Path(client.download_artifacts(run.id, "report.html")).read_text() == "first"
    assert store.relocate(copy) == 0


def test_every_column_with_a_path_below_the_root_is_rewritten_and_no_other(work: Path) -> None:
    old = "file:///gone/mlartifacts"
    with _database(work) as rows:
        rows.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location) VALUES (7, 'a', ?)", [old]
        )
        rows.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location) VALUES (8, 'b', 's3://x')"
        )
        rows.execute("INSERT INTO runs (run_uuid, artifact_uri) VALUES ('r', ?)", [f"{old}/r/artifacts"])
        rows.execute(
            "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,"
            " creation_timestamp_ms, last_updated_timestamp_ms, status) VALUES ('m', 7, 'model', ?, 0, 0, 1)",
            [f"{old}/models/m/artifacts"],
        )
        rows.execute("INSERT INTO registered_models (name) VALUES ('reg')")
        rows.execute(
            "INSERT INTO model_versions (name, version, source, storage_location)"
            " VALUES ('reg', 1, 'models:/m', ?)",
            [f"{old}/models/m/artifacts"],
        )
    assert store.relocate(work) == 4
    root = store.artifact_root(work)
    asked = {
        "SELECT artifact_location FROM experiments WHERE experiment_id = 7": root,
        "SELECT artifact_location FROM experiments WHERE experiment_id = 8": "s3://x",
        "SELECT artifact_uri FROM runs": f"{root}/r/artifacts",
        "SELECT artifact_location FROM logged_models": f"{root}/models/m/artifacts",
        "SELECT storage_location FROM model_versions": f"{root}/models/m/artifacts",
        "SELECT source FROM model_versions": "models:/m",
    }
    with _database(work) as rows:
        assert {query: rows.execute(query).fetchone()[0] for query in asked} == asked


def test_the_columns_with_paths_are_those_of_this_mlflow(work: Path) -> None:
    with _database(work) as rows:
        tables = [name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {(t, row[1]) for t in tables for row in rows.execute(f"PRAGMA table_info({t})")}
    places = {
        (t, c) for t, c in columns if c.endswith(("artifact_location", "storage_location", "artifact_uri"))
    }
    assert places == {
        ("experiments", "artifact_location"),
        ("runs", "artifact_uri"),
        ("logged_models", "artifact_location"),
        ("model_versions", "storage_location"),
    }


def test_relocating_a_folder_without_a_store_changes_nothing(tmp_path: Path) -> None:
    assert store.relocate(tmp_path) == 0


def test_an_older_schema_is_upgraded(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _database(work) as rows:
        (newest,) = rows.execute("SELECT version_num FROM alembic_version").fetchone()
        rows.execute("UPDATE alembic_version SET version_num = 'older'")
    asked: list[list[str]] = []

    def upgrade(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        with _database(work) as rows:
            rows.execute("UPDATE alembic_version SET version_num = ?", [newest])
        return subprocess.CompletedProcess(command, 0, "", "")

    moved = work.with_name("moved")  # MLflow keeps the stores it has opened by URI
    work.rename(moved)
    work = moved
    monkeypatch.setattr(subprocess, "run", upgrade)
    store.prepare(moved)
    assert asked[0][-3:] == ["db", "upgrade", store.local_uri(moved)]


def test_an_upgrade_that_fails_is_one_line(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = work.with_name("moved")
    work.rename(moved)
    with _database(moved) as rows:
        rows.execute("UPDATE alembic_version SET version_num = 'newer'")
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nno such revision: newer\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MedsegError, match="no such revision: newer") as refused:
        store.prepare(moved)
    assert refused.value.code == Code.TRACKING_UNREACHABLE


def test_a_store_that_answers_passes_the_check(work: Path) -> None:
    store.check(store.local_uri(work))


def test_a_server_that_does_not_answer_is_refused_without_its_password() -> None:
    before = dict(os.environ)
    with pytest.raises(MedsegError) as refused:
        store.check("http://me:secret@127.0.0.1:9")
    assert refused.value.code == Code.TRACKING_UNREACHABLE
    assert "secret" not in str(refused.value)
    assert "http://127.0.0.1:9" in str(refused.value)
    assert os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "20") == before.get(
        "MLFLOW_HTTP_REQUEST_TIMEOUT", "20"
    )


def test_a_scheme_that_mlflow_does_not_know_is_refused() -> None:
    with pytest.raises(MedsegError) as refused:
        store.check("gopher://nowhere")
    assert refused.value.code == Code.TRACKING_UNREACHABLE


def test_a_store_that_a_kill_left_half_made_is_made_again(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    half = tmp_path / f".part-{files._host()}-{killed.pid}-0-mlflow.db"
    half.write_bytes(b"SQLite format 3\x00 and no more")
    uri = store.prepare(tmp_path)
    assert store.client(uri).search_experiments() == []
    assert not half.exists()
