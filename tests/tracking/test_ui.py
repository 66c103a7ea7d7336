from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import Code, MedsegError
from medseg.tracking import buffered_client, experiments, mlflow_app, store, ui
from medseg.tracking.tracker import Tracker


@pytest.fixture
def port() -> int:
    """A port that is free just now."""
    with socket.socket() as tried:
        tried.bind((ui.HOST, 0))
        return int(tried.getsockname()[1])


def _get(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(ui.HOST, port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host or f"{ui.HOST}:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_copied_folder_is_served_and_is_a_server_like_any_other(
    work: Path, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "report.html").write_text("<h1>report</h1>")
    run = Tracker(store.local_uri(work), work, "demo", warn=pytest.fail).start("fold 0")
    run.artifact(work / "report.html")
    run.finish()
    copy = tmp_path / "copy of it"
    shutil.copytree(work, copy)
    shutil.rmtree(work)
    for module in ("mlflow", "medseg", "uvicorn"):  # what a folder from elsewhere holds is never imported
        (copy / f"{module}.py").write_text("raise SystemExit(7)")

    server = ui.serve(copy, port)
    try:
        page = (
            f"#/experiments/{run.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=scores"
        )
        assert server.address == f"http://127.0.0.1:{port}/{page}"
        assert _get(port, f"/get-artifact?path=report.html&run_uuid={run.id}") == (200, b"<h1>report</h1>")
        assert _get(port, "/", host="elsewhere.example")[0] == 403
        assert mlflow_app.SCRIPT in _get(port, "/")[1].partition(b"</head>")[0]
        with pytest.raises(MedsegError) as refused:
            ui.serve(copy, port)
        assert refused.value.code == Code.USAGE
        _use_as_remote(f"http://127.0.0.1:{port}", tmp_path / "other", server, monkeypatch)
    finally:
        server.stop()
    assert server.wait() is not None


def _use_as_remote(uri: str, work: Path, server: ui.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Track another folder's run through the server, and lose it in the middle."""
    work.mkdir()
    (work / "recipe.yaml").write_text("name: demo\n")
    said: list[str] = []
    store.check(uri)
    run = Tracker(uri, work, "remote", warn=said.append).start("fold 0", params={"a": 1})
    run.metrics({"train/loss": 1.0}, 1)
    run.artifact(work / "recipe.yaml")
    client: Any = store.client(uri)
    assert client.get_run(run.id).data.metrics == {"train/loss": 1.0}
    assert [found.path for found in client.list_artifacts(run.id)] == ["recipe.yaml"]
    assert said == []

    server.stop()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run.metrics({"train/loss": 0.5}, 2)
    run.finish("FAILED")
    assert len(said) == 1 and "is lost" in said[0]
    kept = [json.loads(line) for line in (work / buffered_client.UNSENT).read_text().splitlines() if line]
    assert [line["kind"] for line in kept] == ["metrics", "status"]
    with pytest.raises(MedsegError) as refused:
        store.check(uri)
    assert refused.value.code == Code.TRACKING_UNREACHABLE


def test_a_server_for_a_container_listens_at_every_address_and_answers_local_browsers(
    work: Path, port: int
) -> None:
    server = ui.serve(work, port, "0.0.0.0")
    try:
        assert server.address.startswith(f"http://127.0.0.1:{port}/")
        connection = http.client.HTTPConnection("127.0.0.2", port, timeout=20)
        connection.request("GET", "/", headers={"Host": f"localhost:{port}"})
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        server.stop()


def test_a_folder_without_a_store_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(MedsegError) as refused:
        ui.serve(tmp_path, port)
    assert refused.value.code == Code.STAGE_MISSING


@pytest.mark.parametrize(
    ("program", "details"),
    [("raise SystemExit(5)", "status 5"), ("import time; time.sleep(60)", "no answer")],
)
def test_a_server_that_does_not_come_up_is_stopped_and_named(
    work: Path, port: int, monkeypatch: pytest.MonkeyPatch, program: str, details: str
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", program], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(MedsegError, match=details) as refused:
        ui.serve(work, port, patience=1.0)
    assert refused.value.code == Code.TRACKING_UNREACHABLE
    assert started[0].poll() is not None


def test_the_page_of_a_store_without_runs_is_the_list_of_experiments(work: Path) -> None:
    client = store.client(store.local_uri(work))
    assert experiments.runs_page(client) == "#/experiments?workflowType=machine_learning"


def test_the_page_of_several_experiments_has_the_runs_of_all(work: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Tracker(store.local_uri(work), work, name, warn=pytest.fail).start("run").finish()
    page = experiments.runs_page(store.client(store.local_uri(work)))
    assert page.startswith("#/compare-experiments/s?experiments=%5B%22")
    assert page.count("%22") == 4


@pytest.mark.parametrize(
    ("environment", "system", "opens"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.1 22"}, "linux", False),
        ({"SSH_TTY": "/dev/pts/0"}, "darwin", False),
    ],
)
def test_a_browser_opens_on_a_desktop_alone(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], system: str, opens: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or True)
    assert ui.open_browser("http://127.0.0.1:5000/", environment, system) is opens
    assert bool(opened) is opens


def test_a_server_ends_where_there_are_no_groups_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "killpg")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ui.Server("http://127.0.0.1", process).stop()
    assert process.poll() is not None
