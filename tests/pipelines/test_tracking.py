"""What a run leaves in MLflow: one run a recipe, folds nested, killed ones marked, the model loadable."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import nibabel as nib
import pandas as pd
import pytest
import yaml

from medseg import files
from medseg.cli.exits import end_well
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.tracking import store
from pipelines import run as pipeline
from pipelines.run import Request
from tests.helpers.box_subjects import make_subjects
from tests.pipelines.test_run import tree


def go(place: Path, *settings: str, fold: str | None = None, overwrite: bool = False) -> str:
    """Run the recipe; what is said."""
    request = Request(str(place / "boxes.yaml"), place / "data", place / "work", settings, fold)
    said = io.StringIO()
    say = Reporter(stream=said, log=place / "work/medseg.log")
    pipeline.run(request, say, overwrite=overwrite)
    return said.getvalue()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=5, unlabelled=1)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree()))
    return tmp_path


def test_folds_are_nested_and_the_model_loads_from_a_copied_folder(place: Path) -> None:
    go(place, fold="all")
    shutil.copytree(place / "work", place / "copy")
    shutil.rmtree(place / "work")
    uri = store.prepare(place / "copy")
    client = store.client(uri)
    known = files.read_json(place / "copy/tracking.json")
    runs = client.search_runs([known["experiment_id"]])
    assert {r.info.status for r in runs} == {"FINISHED"}
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == known["run_id"]]
    assert sorted(r.info.run_name for r in children) == ["work, fold 0", "work, fold 1"]
    for child in children:
        assert {"train/loss", "val/dice_mean", "val/dice_outer"} <= child.data.metrics.keys()
        assert child.inputs.dataset_inputs[0].dataset.name == "boxes"
    parent = client.get_run(known["run_id"])
    assert "test_dice_mean" in parent.data.metrics
    assert parent.data.params["network.name"] == "usegnet"
    names = {a.path for a in client.list_artifacts(known["run_id"])}
    assert {"recipe.yaml", "report.html", "evaluation", "ingest"} <= names
    loaded = load_model(uri, known["run_id"])
    out = place / "labelled"
    told = loaded.predict(pd.DataFrame([{"image": str(place / "data/s3/s3.nii.gz")}]), {"out": str(out)})
    (made,) = told["label_map"]
    assert nib.load(made).shape == (20, 24, 6)
    assert {"size_outer", "size_inner", "quality"} <= set(told.columns)


def load_model(uri: str, run_id: str):  # type: ignore[no-untyped-def]
    import mlflow

    with pytest.MonkeyPatch.context() as user:  # what is set by MLflow's own function stays set
        user.setenv("MLFLOW_TRACKING_URI", uri)
        return mlflow.pyfunc.load_model(f"runs:/{run_id}/model")


def test_a_killed_run_is_marked_and_the_same_training_goes_on_in_its_own(place: Path) -> None:
    go(place)
    first = files.read_json(place / "work/tracking.json")["run_id"]
    client = store.client(store.prepare(place / "work"))
    client.update_run(first, status="RUNNING")
    go(place)
    assert files.read_json(place / "work/tracking.json")["run_id"] == first
    assert client.get_run(first).info.status == "FINISHED"
    client.update_run(first, status="RUNNING")
    go(place, "train.lr=0.02", overwrite=True)
    second = files.read_json(place / "work/tracking.json")["run_id"]
    assert second != first
    assert client.get_run(first).info.status == "KILLED"
    steps = [m.step for m in client.get_metric_history(ids(place)[1]["0"], "train/loss")]
    assert steps == [1]


def ids(place: Path) -> tuple[str, dict[str, str]]:
    """The recipe's run and those of its folds."""
    work = place / "work"
    folds = work / "tracking_folds.json"
    run_id = files.read_json(work / "tracking.json")["run_id"]
    return run_id, files.read_json(folds) if folds.is_file() else {}


def test_folds_of_several_commands_each_have_their_curves(place: Path) -> None:
    go(place, fold="0")
    first = ids(place)
    go(place, fold="1")
    assert ids(place)[0] == first[0]
    folds = ids(place)[1]
    assert folds.keys() == {"0", "1"}
    assert folds["0"] == first[1]["0"]
    client = store.client(store.prepare(place / "work"))
    for run_id in folds.values():
        assert [m.step for m in client.get_metric_history(run_id, "train/loss")] == [1]
    assert "train/loss" not in client.get_run(first[0]).data.metrics


def test_a_fold_that_a_kill_left_running_is_marked_by_a_command_on_another(place: Path) -> None:
    go(place, fold="0")
    killed = ids(place)[1]["0"]
    client = store.client(store.prepare(place / "work"))
    client.update_run(killed, status="RUNNING")
    go(place, fold="1")
    assert client.get_run(killed).info.status == "KILLED"


def test_where_data_lie_and_training_runs_makes_no_other_run(place: Path) -> None:
    go(place)
    before = ids(place)
    request = Request(str(place / "boxes.yaml"), None, place / "work")
    pipeline.run(request, Reporter(stream=io.StringIO()), only="evaluate")
    go(place, "train.threads=2", "train.device=cpu")
    go(place, "tracking.enabled=false")
    go(place)
    assert ids(place) == before
    client = store.client(store.prepare(place / "work"))
    experiment = files.read_json(place / "work/tracking.json")["experiment_id"]
    assert len(client.search_runs([experiment])) == 2  # the recipe's and its fold's


def test_a_copied_folder_goes_on_in_the_run_that_was_copied(place: Path) -> None:
    go(place)
    shutil.copytree(place / "work", place / "copy")
    request = Request(str(place / "boxes.yaml"), place / "data", place / "copy")
    pipeline.run(request, Reporter(stream=io.StringIO()))
    assert files.read_json(place / "copy/tracking.json") == files.read_json(place / "work/tracking.json")


def contents(place: Path) -> tuple[set[str], list[int], int]:
    """Files of the recipe's run, the steps of its only fold's loss, and its number of models."""
    run_id, folds = ids(place)
    client = store.client(store.prepare(place / "work"))
    steps = [m.step for m in client.get_metric_history(folds["0"], "train/loss")]
    run = client.get_run(run_id)
    assert run.info.status == client.get_run(folds["0"]).info.status == "FINISHED"
    return {a.path for a in client.list_artifacts(run_id)}, steps, len(run.outputs.model_outputs)


def test_a_run_that_was_deleted_there_gets_curves_report_and_model_again(place: Path) -> None:
    go(place)
    first, before = ids(place), contents(place)
    client = store.client(store.prepare(place / "work"))
    for run_id in (first[0], *first[1].values()):
        client.delete_run(run_id)
    said = go(place)
    assert "is gone from the store" in said
    assert said.count("up to date") == 6  # nothing is trained, predicted or drawn again
    assert ids(place)[0] != first[0]
    assert contents(place) == before
    assert before[1] and before[2] == 1 and "report.html" in before[0]
    assert "val/dice_mean" in client.get_run(ids(place)[1]["0"]).data.metrics
    again = ids(place)
    go(place)  # and no second time
    assert ids(place) == again
    assert contents(place) == before


def test_a_folds_run_that_was_deleted_alone_comes_back(place: Path) -> None:
    go(place)
    first, before = ids(place), contents(place)
    store.client(store.prepare(place / "work")).delete_run(first[1]["0"])
    go(place)
    assert ids(place)[0] == first[0]
    assert ids(place)[1] != first[1]
    assert contents(place) == before


def test_a_training_from_before_tracking_is_told_to_it(place: Path) -> None:
    go(place, "tracking.enabled=false")
    assert not (place / "work/mlflow.db").exists()
    go(place)
    listed, steps, models = contents(place)
    assert {"recipe.yaml", "report.html", "evaluation", "ingest", "train"} <= listed
    assert (steps, models) == ([1], 1)


def test_a_store_without_its_driver_stops_no_training_and_gets_all_later(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def absent(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'boto3'")

    names = ("log_artifact", "log_artifacts", "log_image", "log_model_artifacts")
    with monkeypatch.context() as broken:
        for name in names:
            broken.setattr(MlflowClient, name, absent)
        said = go(place)
    lost = [line for line in said.splitlines() if line.startswith("tracking: ")]
    assert len(lost) == 1
    assert "EXTRA_MISSING" in lost[0] and "pip install boto3" in lost[0]
    assert said.index(lost[0]) < said.index("ingest")  # known before any work
    assert contents(place) == (set(), [1], 0)
    go(place)
    listed, _, models = contents(place)
    assert {"recipe.yaml", "report.html", "evaluation", "ingest", "train"} <= listed
    assert models == 1
    assert not (place / "work/tracking_unsent.jsonl").exists()


CANARY = "S3cretPw"


@pytest.mark.parametrize(
    "uri",
    [
        f"http://anna:{CANARY}@127.0.0.1:9",
        f"https://{CANARY}@127.0.0.1:9/mlflow",
        f"http://127.0.0.1:9/?token={CANARY}",
        f"postgresql://anna:{CANARY}@127.0.0.1:9/mlflow",
        f"http://[{CANARY}@127.0.0.1",
    ],
)
def test_a_password_in_an_address_is_refused_and_repeated_nowhere(
    place: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(standalone_mode: bool) -> str:
        return go(place, f"tracking.uri={uri}")

    assert end_well(command) == ExitCode.USAGE  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert "MLFLOW_TRACKING_PASSWORD" in captured.err
    assert CANARY not in captured.out + captured.err
    assert not (place / "work").exists()


def test_no_file_of_a_run_holds_what_mlflows_environment_says(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", CANARY)
    said = go(place)
    with pytest.raises(MedsegError) as refused:
        go(place, "tracking.uri=http://127.0.0.1:9")
    assert refused.value.code is Code.TRACKING_UNREACHABLE
    assert CANARY not in said + str(refused.value)
    everything = [path for path in place.rglob("*") if path.is_file()]
    assert len(everything) > 30
    assert [path for path in everything if CANARY.encode() in path.read_bytes()] == []
