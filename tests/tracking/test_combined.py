"""Several work folders' stores as one: every run with its scores, files where they lie, and what is new."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import Code, MedsegError
from medseg.tracking import store
from medseg.tracking.combined import Combined
from medseg.tracking.logged_model import register_model
from medseg.tracking.tracker import DataSet, Run, Tracker

DATA = DataSet("brains", "0123456789", Path("/data/brains"), {"t1": "scan"}, {"train": 2})


@pytest.fixture
def works(empty_store: Path, tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "all" / name for name in ("first", "second")]
    for folder in folders:
        shutil.copytree(empty_store, folder)
        store.prepare(folder)
    return folders


def track(work: Path, experiment: str = "demo", name: str | None = None, **metrics: float) -> Run:
    """Track a run with a curve, a file, a data set and scores."""
    run = Tracker(store.local_uri(work), work, experiment, warn=pytest.fail).start(
        name or work.name, params={"lr": 0.1}, tags={"network": "unet"}
    )
    for step in (1, 2):
        run.metrics({"train/loss": 1 / step}, step)
    (work / "note.txt").write_text(work.name)
    run.artifact(work / "note.txt")
    run.data(DATA)
    run.summary({"test_dice_mean": 0.9, **metrics})
    run.finish()
    return run


@pytest.fixture
def make(works: list[Path], tmp_path: Path) -> Iterator[Any]:
    """Combine the work folders as they are by then; gives the combined store and its client."""

    def combine(folders: list[Path] | None = None) -> tuple[Combined, Any]:
        place = tmp_path / "combined"
        place.mkdir()
        combined = Combined(folders or works, place)
        return combined, store.client(combined.create())

    yield combine


def digests(works: list[Path]) -> list[str]:
    return [hashlib.sha256((work / store.DATABASE).read_bytes()).hexdigest() for work in works]


def test_runs_of_one_recipe_share_an_experiment_with_all_that_belongs_to_them(
    works: list[Path], make: Any
) -> None:
    runs = [track(work) for work in works]
    before = digests(works)
    _, client = make()
    (experiment,) = client.search_experiments()
    assert "mlflow.sharedViewState.scores" in experiment.tags
    listed = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id: run.info.run_name for run in listed} == {
        run.id: work.name for run, work in zip(runs, works, strict=True)
    }
    for run, work in zip(runs, works, strict=True):
        stored = store.client(store.local_uri(work)).get_run(run.id)
        copied = client.get_run(run.id)
        assert copied.data == stored.data or copied.data.to_dictionary() == stored.data.to_dictionary()
        assert (copied.info.start_time, copied.info.status) == (stored.info.start_time, "FINISHED")
        assert [m.step for m in client.get_metric_history(run.id, "train/loss")] == [1, 2]
        assert [i.dataset.name for i in copied.inputs.dataset_inputs] == ["brains"]
        assert copied.info.artifact_uri.startswith(work.resolve().as_uri())
        assert Path(client.download_artifacts(run.id, "note.txt")).read_text() == work.name
    assert digests(works) == before  # the work folders' stores are only read


def test_recipes_keep_experiments_of_their_own(works: list[Path], make: Any) -> None:
    for work, name in zip(works, ("demo", "other"), strict=True):
        track(work, name)
    _, client = make()
    assert {e.name for e in client.search_experiments()} == {"demo", "other"}
    for experiment in client.search_experiments():
        assert len(client.search_runs([experiment.experiment_id])) == 1


def test_new_runs_and_epochs_appear_and_a_folder_that_is_gone_goes(works: list[Path], make: Any) -> None:
    track(works[0])
    combined, client = make()
    assert combined.refresh() == []
    late = track(works[1])
    assert combined.refresh() == [works[1]]
    assert client.get_run(late.id).data.metrics["test_dice_mean"] == 0.9
    Tracker(store.local_uri(works[1]), works[1], "demo", warn=pytest.fail).ended(late.id).metrics(
        {"train/loss": 0.2}, 3
    )
    assert combined.refresh() == [works[1]]
    assert [m.step for m in client.get_metric_history(late.id, "train/loss")] == [1, 2, 3]
    shutil.rmtree(works[1])
    assert combined.refresh() == [works[1]]
    (experiment,) = client.search_experiments()
    assert [run.info.run_name for run in client.search_runs([experiment.experiment_id])] == ["first"]


def test_a_run_in_two_copies_of_a_folder_is_shown_once_as_the_newer_one_has_it(
    works: list[Path], make: Any
) -> None:
    run = track(works[0])
    copy = works[0].with_name("copy")
    shutil.copytree(works[0], copy)
    store.prepare(copy)
    Tracker(store.local_uri(copy), copy, "demo", warn=pytest.fail).ended(run.id).summary({"more": 1})
    _, client = make([works[0], copy])
    (experiment,) = client.search_experiments()
    assert [r.info.run_id for r in client.search_runs([experiment.experiment_id])] == [run.id]
    assert client.get_run(run.id).data.metrics["more"] == 1


def test_a_moved_folder_shows_its_files_where_they_are_now(works: list[Path], make: Any) -> None:
    runs = [track(work) for work in works]
    moved = works[1].with_name("moved")
    works[1].rename(moved)
    _, client = make([works[0], moved])
    assert Path(client.download_artifacts(runs[1].id, "note.txt")).read_text() == "second"


def test_versions_of_one_registered_name_get_numbers_in_order_and_the_newest_the_alias(
    works: list[Path], make: Any
) -> None:
    for work in works:
        run = track(work)
        client = store.client(store.local_uri(work))
        model = client.create_logged_model(run.experiment_id, "model", source_run_id=run.id)
        assert register_model(client, model, "brains", "current", is_local=True) == 1
    _, client = make()
    versions = client.search_model_versions("name='brains'")
    names = {int(v.version): client.get_run(v.run_id).info.run_name for v in versions}
    assert names == {1: "first", 2: "second"}
    assert int(client.get_model_version_by_alias("brains", "current").version) == 2


@pytest.mark.parametrize("content", [b"", b"no database at all, but some text that is long enough" * 40])
def test_a_store_that_cannot_be_read_is_named_and_the_others_are_shown(
    works: list[Path], make: Any, content: bytes
) -> None:
    run = track(works[0])
    (works[1] / store.DATABASE).write_bytes(content)
    combined, client = make()
    assert list(combined.unread) == [works[1]]
    assert client.get_run(run.id).info.run_name == "first"


def test_stores_none_of_which_can_be_read_are_refused(works: list[Path], make: Any) -> None:
    for work in works:
        (work / store.DATABASE).write_bytes(b"")
    with pytest.raises(MedsegError) as refused:
        make()
    assert refused.value.code == Code.TRACKING_UNREACHABLE


def test_a_store_of_an_earlier_mlflow_is_read_by_a_copy_that_is_brought_up_to_date(
    works: list[Path], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in works:
        track(work)
    with sqlite3.connect(works[0] / store.DATABASE) as database:
        (schema,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("UPDATE alembic_version SET version_num = 'earlier'")
    os.utime(works[0] / store.DATABASE, (1, 1))  # the older one
    upgraded: list[Path] = []

    def upgrade(folder: Path) -> None:
        upgraded.append(folder)
        with sqlite3.connect(folder / store.DATABASE) as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (schema,))

    monkeypatch.setattr(store, "upgrade", upgrade)
    before = digests(works)
    _, client = make()
    (experiment,) = client.search_experiments()
    assert len(client.search_runs([experiment.experiment_id])) == 2
    assert len(upgraded) == 1 and works[0] not in upgraded
    assert digests(works) == before
