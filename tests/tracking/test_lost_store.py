from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.tracking import buffered_client, store
from medseg.tracking.tracker import Tracker


class _Gate:
    """A client that answers as long as `open`."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.open = True
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        if not self.open:
            self.asked += 1
            raise MlflowException("API request to http://me:secret@host failed")
        return getattr(self.client, name)


@pytest.fixture
def gate(client: Any, monkeypatch: pytest.MonkeyPatch) -> _Gate:
    gate = _Gate(client)
    monkeypatch.setattr(store, "client", lambda uri: gate)
    return gate


def _unsent(work: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work / buffered_client.UNSENT).read_text().split("\n") if line]


def test_a_lost_store_is_said_once_and_the_rest_is_kept(work: Path, gate: _Gate, said: list[str]) -> None:
    run = Tracker(store.local_uri(work), work, "demo", warn=said.append).start("fold 0")
    run.metrics({"train/loss": 3.0}, 1)
    gate.open = False
    for step in (2, 3):
        run.metrics({"train/loss": 1.0}, step)
    assert gate.asked == 1  # no further waiting
    run.finish()
    assert len(said) == 1 and "is lost" in said[0] and "secret" not in said[0]
    assert [line["kind"] for line in _unsent(work)] == ["metrics", "metrics", "status"]


def test_what_was_kept_is_sent_by_the_end_of_the_run(
    work: Path, gate: _Gate, client: Any, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "history.csv").write_text("epoch\n")
    run = Tracker(store.local_uri(work), work, "demo", warn=said.append).start("fold 0")
    gate.open = False
    run.params({"late": 1})
    run.tags({"late": "yes"})
    run.metrics({"train/loss": 1.0}, 2)
    run.artifact(tmp_path / "history.csv")
    gate.open = True
    run.finish()
    found = client.get_run(run.id)
    assert (found.data.params, found.data.metrics, found.data.tags["late"]) == (
        {"late": "1"},
        {"train/loss": 1.0},
        "yes",
    )
    assert (found.info.status, len(client.list_artifacts(run.id))) == ("FINISHED", 1)
    assert len(said) == 2 and "answers again" in said[1]
    assert not (work / buffered_client.UNSENT).exists()


def test_what_was_kept_is_sent_by_the_next_command(
    work: Path, gate: _Gate, client: Any, said: list[str]
) -> None:
    uri = store.local_uri(work)
    run = Tracker(uri, work, "demo", warn=said.append).start("fold 0")
    gate.open = False
    run.metrics({"train/loss": 1.0}, 1)
    run.finish()
    later = Tracker(uri, work, "demo", warn=said.append)  # still lost: nothing is forgotten
    later.start("fold 0", run_id=run.id).summary({"test/dice_mean": 0.9})
    assert later.start("fold 1").id == ""
    assert len(_unsent(work)) == 3
    with (work / buffered_client.UNSENT).open("a") as file:
        file.write('{"kind": "metr')  # cut off by a kill
    later.start("fold 0", run_id=run.id).tags({"late": "yes"})
    gate.open = True
    Tracker(uri, work, "demo", warn=said.append)
    found = client.get_run(run.id)
    assert found.data.metrics == {"train/loss": 1.0, "test/dice_mean": 0.9}
    assert found.data.tags["late"] == "yes"
    assert not (work / buffered_client.UNSENT).exists()


def test_a_refusal_is_said_and_does_not_count_as_lost(work: Path, client: Any, said: list[str]) -> None:
    run = Tracker(store.local_uri(work), work, "demo", warn=said.append).start("fold 0", params={"a": 1})
    run.params({"a": 2})  # MLflow changes no parameter
    run.metrics({"train/loss": 1.0}, 1)
    assert len(said) == 1 and "refuses" in said[0]
    assert client.get_run(run.id).data.metrics == {"train/loss": 1.0}
    assert not (work / buffered_client.UNSENT).exists()


def test_a_kept_line_that_is_refused_lets_the_others_through(
    work: Path, gate: _Gate, client: Any, said: list[str]
) -> None:
    run = Tracker(store.local_uri(work), work, "demo", warn=said.append).start("fold 0", params={"a": 1})
    gate.open = False
    run.params({"a": 2})
    gate.open = True
    run.finish()
    assert client.get_run(run.id).info.status == "FINISHED"


class _NoFiles:
    """A client whose server answers, and whose place for files raises what a library of a cloud may."""

    def __init__(self, client: Any, error: Exception) -> None:
        self.client = client
        self.error: Exception | None = error
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        if self.error is not None and name.startswith(("log_artifact", "log_image", "log_model_artifacts")):
            self.asked += 1
            raise self.error
        return getattr(self.client, name)


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'MySQLdb'", name="MySQLdb"), "mysqlclient"),
        (ModuleNotFoundError("No module named 'psycopg2.extras'"), "psycopg2-binary"),
        (ModuleNotFoundError("No module named 'google.cloud'"), "google-cloud-storage"),
        (ModuleNotFoundError("No module named 'boto3'"), "boto3"),
    ],
)
def test_a_missing_driver_is_named_as_pip_installs_it(error: ImportError, package: str) -> None:
    assert store.package_of(error) == package


class CloudError(Exception):
    """No relative of OSError."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'boto3'"), "EXTRA_MISSING its storage needs the package boto3"),
        (PermissionError(13, "Permission denied", "/sys/x"), "Permission denied"),
        (CloudError("Unable to locate credentials"), "Unable to locate credentials"),
        (CloudError(), "CloudError"),
        (ConnectionError("http://anna:S3cret@minio:9000 refused"), "minio:9000 refused"),
    ],
)
def test_a_store_without_its_files_keeps_the_curves_and_says_so_once(
    error: Exception,
    words: str,
    work: Path,
    client: Any,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: demo\n")
    (tmp_path / "report.html").write_text("<html>")
    half = _NoFiles(client, error)
    monkeypatch.setattr(store, "client", lambda uri: half)
    run = Tracker(store.local_uri(work), work, "demo", warn=said.append).start("fold 0")
    run.artifact(tmp_path / "recipe.yaml")
    run.metrics({"train/loss": 1.0}, 1)
    run.image("val/a", np.zeros((2, 2, 3), np.uint8), 1)
    run.artifact(tmp_path / "report.html")
    run.finish()
    assert half.asked == 2  # at first, and at the end once more: no file waits for another
    assert client.get_run(run.id).data.metrics == {"train/loss": 1.0}
    assert client.get_run(run.id).info.status == "FINISHED"
    assert len(said) == 1 and words in said[0] and "S3cret" not in said[0] and "\n" not in said[0]
    assert [Path(line["path"]).name for line in _unsent(work)] == ["recipe.yaml", "report.html"]
    half.error = None
    Tracker(store.local_uri(work), work, "demo", warn=said.append)
    assert {entry.path for entry in client.list_artifacts(run.id)} == {"recipe.yaml", "report.html"}
    assert not (work / buffered_client.UNSENT).exists()


def test_a_fault_of_ours_is_no_lost_store(work: Path, tracker: Tracker) -> None:
    link = buffered_client.BufferedClient(store.local_uri(work), work / "unsent", pytest.fail)
    with pytest.raises(KeyError):
        link.ask(lambda client: {}["bug"], default=None)
    assert not (link.lost or link.files_lost)
