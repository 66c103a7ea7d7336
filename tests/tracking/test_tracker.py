from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medseg
from medseg.tracking import store, system_metrics
from medseg.tracking.tracker import MAX_VALUE, DataSet, Tracker, flatten


def _steps(client: Any, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run_id, key)]


def test_nested_values_become_dotted_names() -> None:
    values = {"network": {"name": "unet", "width": 16}, "crop": True, "spacing": None, "a,b": [1, "x"]}
    assert dict(flatten(values)) == {
        "network.name": "unet",
        "network.width": "16",
        "crop": "true",
        "spacing": "null",
        "a_0x2c_b": '[1, "x"]',
    }


def test_a_long_value_is_cut_where_mlflow_would_refuse_it() -> None:
    ((_, text),) = flatten({"a": "x" * (MAX_VALUE + 1)})
    assert len(text) == MAX_VALUE and text.endswith("…")


def test_an_experiment_is_made_once_for_model_training_with_its_files_in_the_work_folder(
    work: Path, tracker: Tracker, client: Any
) -> None:
    Tracker(store.local_uri(work), work, "demo", warn=pytest.fail)
    (found,) = client.search_experiments()
    assert (found.name, found.artifact_location) == ("demo", store.artifact_root(work))
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_deleted_experiment_comes_back(work: Path, tracker: Tracker, client: Any) -> None:
    client.delete_experiment(client.get_experiment_by_name("demo").experiment_id)
    Tracker(store.local_uri(work), work, "demo", warn=pytest.fail).start("again").finish()
    assert client.get_experiment_by_name("demo").lifecycle_stage == "active"


def test_a_run_has_its_parameters_tags_and_metrics_by_step(tracker: Tracker, client: Any) -> None:
    params = {f"p{i}": i for i in range(250)}
    with tracker.start("fold 0", params=params, tags={"recipe": "abc"}) as run:
        for step in (1, 2):
            run.metrics({"train/loss": 1 / step, "val/dice_mean": None if step == 1 else math.nan}, step)
    found = client.get_run(run.id)
    assert (found.info.run_name, found.info.status) == ("fold 0", "FINISHED")
    assert found.data.params == {f"p{i}": str(i) for i in range(250)}
    assert found.data.tags["recipe"] == "abc"
    assert found.data.tags["version"] == medseg.__version__
    assert _steps(client, run.id, "train/loss") == [(1, 1.0), (2, 0.5)]
    assert [step for step, _ in _steps(client, run.id, "val/dice_mean")] == []  # NaN is no value


def test_more_metrics_than_fit_a_batch(tracker: Tracker, client: Any) -> None:
    run = tracker.start("wide")
    run.metrics({f"val/dice_{i}": 0.5 for i in range(1001)}, 1)
    assert len(client.get_run(run.id).data.metrics) == 1001


def test_folds_are_nested(tracker: Tracker, client: Any) -> None:
    parent = tracker.start("2 folds")
    for fold in range(2):
        tracker.start(f"fold {fold}", parent=parent).finish()
    found = client.search_runs([parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.id}'")
    assert {run.info.run_name for run in found} == {"fold 0", "fold 1"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_run_ends_as_its_block_does(
    tracker: Tracker, client: Any, error: type[BaseException] | None, status: str
) -> None:
    def body() -> str:
        with tracker.start("fold 0") as run:
            started.append(run.id)
            if error is not None:
                raise error
        return run.id

    started: list[str] = []
    if error is None:
        body()
    else:
        with pytest.raises(error):
            body()
    assert client.get_run(started[0]).info.status == status


def test_a_resumed_run_goes_on_and_logs_no_step_twice(work: Path, tracker: Tracker, client: Any) -> None:
    run = tracker.start("fold 0", params={"a": 1})
    run.metrics({"train/loss": 3.0, "val/dice_mean": 0.1}, 1)
    run.metrics({"train/loss": 2.0}, 2)  # killed before the step's validation

    later = Tracker(store.local_uri(work), work, "demo", warn=pytest.fail)
    assert later.mark_killed(keep=[run.id]) == []
    again = later.start("ignored", params={"a": 99, "b": 2}, run_id=run.id)
    for step in (2, 3):
        again.metrics({"train/loss": 1.0, "val/dice_mean": 0.2}, step)
    again.finish()
    assert again.id == run.id
    assert _steps(client, run.id, "train/loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [step for step, _ in _steps(client, run.id, "val/dice_mean")] == [1, 2, 3]
    found = client.get_run(run.id)
    assert (found.data.params, found.info.status) == ({"a": "1", "b": "2"}, "FINISHED")


def test_a_finished_run_that_is_resumed_runs_again(tracker: Tracker, client: Any) -> None:
    run = tracker.start("fold 0")
    run.finish("KILLED")
    tracker.start("fold 0", run_id=run.id)
    assert client.get_run(run.id).info.status == "RUNNING"


@pytest.mark.parametrize("gone", ["0" * 32, "no run id", "deleted"])
def test_a_run_that_the_store_no_longer_has_begins_anew(tracker: Tracker, client: Any, gone: str) -> None:
    if gone == "deleted":
        gone = tracker.start("fold 0").id
        client.delete_run(gone)
    run = tracker.start("fold 0", run_id=gone)
    assert run.id not in {gone, ""} and not run.resumed


def test_what_a_kill_left_running_is_killed_except_what_is_resumed(tracker: Tracker, client: Any) -> None:
    left, kept, done = (tracker.start(name) for name in ("left", "kept", "done"))
    done.finish()
    assert tracker.mark_killed(keep=[kept.id]) == [left.id]
    assert [client.get_run(run.id).info.status for run in (left, kept, done)] == [
        "KILLED",
        "RUNNING",
        "FINISHED",
    ]


def test_on_a_shared_store_only_runs_of_this_work_folder_are_killed(
    work: Path, tmp_path: Path, client: Any
) -> None:
    uri = store.local_uri(work)
    mine = Tracker(uri, tmp_path / "mine", "demo", warn=pytest.fail)
    other = Tracker(uri, tmp_path / "other", "demo", warn=pytest.fail)
    own, foreign = mine.start("own"), other.start("foreign")
    assert mine.mark_killed() == [own.id]
    assert client.get_run(foreign.id).info.status == "RUNNING"
    assert foreign.experiment_id == own.experiment_id
    assert client.get_experiment(own.experiment_id).artifact_location == store.artifact_root(work)


def test_a_summary_has_no_step_and_a_changed_value_counts(tracker: Tracker, client: Any) -> None:
    run = tracker.start("fold 0")
    for value in (0.8, 0.8, 0.9):
        run.summary({"test/dice_mean": value, "test/hd95_mean": None})
    assert client.get_run(run.id).data.metrics == {"test/dice_mean": 0.9}
    assert {step for step, _ in _steps(client, run.id, "test/dice_mean")} == {0}
    assert len(_steps(client, run.id, "test/dice_mean")) == 2


def test_pictures_make_a_series_that_a_resumed_run_does_not_repeat(tracker: Tracker, client: Any) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    run = tracker.start("fold 0")
    for step in (0, 5):
        run.image("val/IBSR 07 é", picture, step)
    again = tracker.start("fold 0", run_id=run.id)
    again.image("val/IBSR 07 é", picture, 5)
    again.image("val/IBSR 07 é", picture, 10)
    names = [Path(found.path).name for found in client.list_artifacts(run.id, "images")]
    full = sorted(name.split("+timestamp+")[0] for name in names if name.endswith(".png"))
    assert full == [f"val~IBSR 07 _0xe9_+step+{step}" for step in (0, 10, 5)]


def test_a_folder_and_a_file_become_artifacts(tracker: Tracker, client: Any, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "scores.csv").write_text("case,dice\n")
    run = tracker.start("fold 0")
    run.artifact(folder, "evaluation")
    run.artifact(folder / "scores.csv")
    assert [found.path for found in client.list_artifacts(run.id)] == ["evaluation", "scores.csv"]
    assert [found.path for found in client.list_artifacts(run.id, "evaluation")] == ["evaluation/scores.csv"]


def test_the_data_set_is_an_input_with_a_source(tracker: Tracker, client: Any, tmp_path: Path) -> None:
    run = tracker.start("fold 0")
    columns = {"T1": "channel", "GM": "label 2"}
    run.data(DataSet("ibsr18", "0123456789abcdef", tmp_path, columns, {"train": 12, "test": 2}))
    (entry,) = client.get_run(run.id).inputs.dataset_inputs
    from mlflow.data import get_source

    assert (entry.dataset.name, entry.dataset.digest) == ("ibsr18", "01234567")
    assert json.loads(entry.dataset.profile) == {"train": 12, "test": 2}
    assert get_source(entry).uri == str(tmp_path)


def test_the_machine_is_sampled_with_the_metrics(tracker: Tracker, client: Any) -> None:
    run = tracker.start("fold 0")
    run.watch(interval=0.01)
    run.watch(interval=0.01)  # once is enough
    run.metrics({"train/loss": 1.0}, 1)
    run.finish()
    key = system_metrics.PREFIX + "cpu_utilization_percentage"
    first = _steps(client, run.id, key)
    assert [step for step, _ in first] == list(range(len(first))) and first
    again = tracker.start("fold 0", run_id=run.id)
    again.watch(interval=60)
    again.finish()
    assert [step for step, _ in _steps(client, run.id, key)] == list(range(len(first) + 1))


def test_without_a_uri_nothing_is_made(tmp_path: Path) -> None:
    tracker = Tracker(None, tmp_path, "demo", warn=pytest.fail)
    assert tracker.mark_killed() == []
    with tracker.start("fold 0", params={"a": 1}, run_id="kept") as run:
        run.watch()
        run.metrics({"train/loss": 1.0}, 1)
        run.summary({"test/dice_mean": 1.0})
        run.image("a", np.zeros((2, 2, 3), np.uint8), 0)
        run.artifact(tmp_path)
        run.data(DataSet("a", "b", tmp_path, {}, {}))
        run.tags({"a": "b"})
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_never_reach_the_store(tracker: Tracker, client: Any) -> None:
    run = tracker.start("fold 0")
    odd = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": None, "e": 0.5}
    run.metrics({f"val/{k}": v for k, v in odd.items()}, 1)
    run.summary({f"test/{k}": v for k, v in odd.items()})
    assert client.get_run(run.id).data.metrics == {"val/e": 0.5, "test/e": 0.5}


def test_class_names_that_differ_by_a_sign_have_a_curve_each(tracker: Tracker, client: Any) -> None:
    names = [
        "GM (left)",
        "GM [left]",
        "tumour+",
        "tumour&",
        "a/",
        "a//b",
        "a/b",
        "/a",
        "..",
        "a/../b",
        "x" * 400,
    ]
    run = tracker.start("fold 0")
    run.metrics({f"val/dice_{name}": n / 100 for n, name in enumerate(names)}, 1)
    found = client.get_run(run.id).data.metrics
    assert sorted(found.values()) == [n / 100 for n in range(len(names))]


def test_a_run_is_there_or_not(tracker: Tracker, client: Any) -> None:
    run = tracker.start("fold 0")
    assert tracker.has(run.id)
    client.delete_run(run.id)
    assert not tracker.has(run.id)
    assert not tracker.has("0" * 32)
