"""`medseg ui`: which work folders it shows, and what it says."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml

from medseg import files
from medseg.config import load
from medseg.errors import Code, MedsegError
from medseg.tracking import store, ui
from pipelines import saved_recipe
from pipelines.commands import ui as command
from pipelines.work_folders import runs_below
from pipelines.workfolder import Work
from tests.pipelines.test_run import tree


class Served:
    """A server that ends at once, as after Ctrl-C; keeps how it was started."""

    address = "http://127.0.0.1:5000/#/experiments/1/runs"

    def __init__(self) -> None:
        self.calls: list[tuple[Path, str | None]] = []
        self.is_stopped = False

    def __call__(self, work: Path, port: int, host: str, *, uri: str | None) -> Served:
        self.calls.append((work, uri))
        return self

    def wait(self, seconds: float | None = None) -> int:
        return 0

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    server = Served()
    monkeypatch.setattr(ui, "serve", server)
    return server


@cache
def empty_store() -> bytes:
    """The content of a store without runs, made once: a fresh one costs seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store.prepare(Path(folder))
        return (Path(folder) / store.DATABASE).read_bytes()


def own(folder: Path) -> Path:
    """A work folder with a store of its own."""
    folder.mkdir(parents=True)
    (folder / store.DATABASE).write_bytes(empty_store())
    return folder


def remote(folder: Path, uri: str) -> Path:
    """A work folder whose runs are on a server."""
    recipe = folder.parent / f"{folder.name}.yaml"
    recipe.write_text(yaml.safe_dump({**tree(), "tracking": {"uri": uri}}))
    saved_recipe.save(load.load(str(recipe)), Work(folder))
    files.write_json(Work(folder).tracking, {"run_id": "1", "experiment_id": "7", "key": "k"})
    return folder


def test_one_work_folder_is_served_from_its_own_store(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    work = own(tmp_path / "all/one")
    for named in (work, tmp_path / "all"):
        command.run([named], 5000, ui.HOST, browser=False)
    assert served.calls == [(work, None)] * 2
    assert served.is_stopped
    said = capsys.readouterr().out
    assert "waiting for MLflow's server" in said
    assert f"open {Served.address}" in said


def test_several_are_served_by_a_store_that_goes_with_the_command(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    works = [own(tmp_path / name) for name in ("a", "deep/er/b")]
    command.run([tmp_path], 5000, ui.HOST, browser=False)
    command.run(works, 5000, ui.HOST, browser=False)
    assert all(uri == store.local_uri(folder) for folder, uri in served.calls)
    assert not any(folder.exists() for folder, _ in served.calls)
    assert "2 work folders" in capsys.readouterr().out


def test_a_folder_named_twice_is_shown_once(tmp_path: Path) -> None:
    work = own(tmp_path / "a")
    assert runs_below([work, tmp_path, tmp_path / "a/../a"]).own == (work,)


def test_a_server_that_tracks_the_runs_is_opened(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote(tmp_path / "a", "http://mlflow.example:5000/")
    opened: list[str] = []
    monkeypatch.setattr(ui, "open_browser", lambda address, _: bool(opened.append(address)) or True)
    command.run([tmp_path], 5000, ui.HOST)
    (address,) = opened
    assert address.startswith("http://mlflow.example:5000/#/experiments/7/runs?")
    assert "viewStateShareKey=scores" in address
    assert address in capsys.readouterr().out
    assert served.calls == []


def test_runs_on_a_server_and_of_folders_are_both_named(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(tmp_path / "a", "http://mlflow.example:5000")
    work = own(tmp_path / "b")
    command.run([tmp_path], 5000, ui.HOST, browser=False)
    assert served.calls == [(work, None)]
    assert "http://mlflow.example:5000/#/experiments/7" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_a_folder_without_runs_is_refused_in_a_line(tmp_path: Path, place: str, served: Served) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedsegError) as refused:
        command.run([tmp_path / place], 5000, ui.HOST)
    assert refused.value.code in (Code.USAGE, Code.STAGE_MISSING)
    assert place in str(refused.value)


def test_the_command_has_no_store_open_in_what_a_work_folder_keeps(tmp_path: Path, served: Served) -> None:
    """Stores inside a work folder's artifacts are files of runs, no work folders."""
    work = own(tmp_path / "a")
    own(work / store.ARTIFACTS / "x")
    own(work / "prepared" / "y")
    assert runs_below([tmp_path]).own == (work,)


def test_a_database_that_tracks_the_runs_is_served(tmp_path: Path, served: Served) -> None:
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    work = remote(tmp_path / "a", uri)
    command.run([tmp_path], 5000, ui.HOST, browser=False)
    assert served.calls == [(work, uri)]


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    work = own(tmp_path / "disk/a")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/back").symlink_to(tmp_path / "work")
    assert runs_below([tmp_path / "work"]).own == (work,)
