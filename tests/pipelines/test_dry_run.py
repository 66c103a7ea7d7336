"""`medseg run --dry-run`: the plan is the run's, and nothing is written but to a temporary folder."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import run as pipeline
from pipelines.commands import dry_run
from pipelines.fold import speed
from pipelines.run import Request
from tests.helpers.box_runs import TRAIN, recipe_tree
from tests.helpers.box_subjects import make_subjects
from tests.helpers.commands import run_command
from tests.helpers.dicom_subjects import as_dicom


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe and its data; the system's temporary folder is one that can be looked into."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    make_subjects(tmp_path / "data", labelled=5, unlabelled=1)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(recipe_tree()))
    return tmp_path


def request(place: Path, *settings: str, fold: str | None = None) -> Request:
    return Request(str(place / "boxes.yaml"), place / "data", place / "work", settings, fold)


def planned(wanted: Request, **options: Any) -> tuple[ExitCode, dict[str, Any]]:
    """The exit code and the plan."""
    results = io.StringIO()
    ended = dry_run.run(wanted, Reporter(stream=io.StringIO(), results=results), as_json=True, **options)
    return ended, json.loads(results.getvalue())


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_plan_names_the_cases_of_each_role(place: Path) -> None:
    before = contents(place)
    ended, plan = planned(request(place))
    assert ended == ExitCode.DONE and contents(place) == before and not (place / "work").exists()
    assert list((place / "temporary").iterdir()) == []
    (fold,) = plan["folds"]
    cases = {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3", "s4"], "unlabelled": ["s5"]}
    assert {role: part["cases"] for role, part in fold["roles"].items()} == cases
    assert (plan["cases"], plan["labelled"], plan["subjects"], plan["excluded"]) == (6, 5, 6, 0)
    assert (plan["channels"], plan["classes"]) == (["t1"], {"0": "background", "1": "outer", "2": "inner"})
    assert plan["shapes"] == [[20, 24, 6], [20, 24, 6]] and plan["spacings"][0] == [1, 1, 2]
    assert set(plan["seconds"]) == {"preprocess", "train", "validate", "predict"}
    assert min(plan["seconds"].values()) >= 0 and plan["seconds"]["train"] > 0
    assert [len(planned(request(place, fold="all"))[1]["folds"])] == [2]


def test_the_lines_say_what_a_person_asks(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", place / "boxes.yaml", "--data", place / "data", "--work", place / "work"]
    words += ["--device", "cpu", "--set", "train.precision=fp32"]
    said = run_command([*words, "--dry-run"], capfd, monkeypatch)
    lines = said.text.splitlines()
    assert said.code == ExitCode.DONE
    assert lines[0] == f"plan of boxes in {place / 'work'} (dry run: nothing is written)"
    for line in (
        "channels  t1",
        "classes   0 background, 1 outer, 2 inner",
        "cases     6 usable (5 labelled), 0 excluded, of 6 subjects",
        "grids     20 × 24 × 6 voxels of 1 × 1 × 2 mm",
        "fold 0    train: 2 cases of 2 subjects: s0, s1",
        "          val: 1 case of 1 subject: s2",
        "network   usegnet, axial, 3 slices, 16 × 16 px",
        "training  1 epoch, batches of 2, fp32 on cpu; prediction by dense",
    ):
        assert line in lines
    assert any(line.startswith("time      about ") for line in lines)
    assert any(line.startswith("disk      about ") and "GB are free" in line for line in lines)
    (command,) = [line for line in lines if line.startswith("run it:   medseg run ")]
    assert f"--work {place / 'work'} --data {place / 'data'}" in command
    refused = run_command([*words, "--json"], capfd, monkeypatch)
    assert refused.code == ExitCode.USAGE and "give --dry-run, too" in refused.text


def test_it_ends_as_the_run_would(place: Path) -> None:
    (place / "data/s5/s5.nii.gz").write_text("no scan")
    ended, plan = planned(request(place))
    assert (ended, plan["excluded"], plan["cases"]) == (ExitCode.SOME_EXCLUDED, 1, 5)
    with pytest.raises(MedsegError) as wrong:
        planned(request(place, fold="7"))
    assert wrong.value.code == Code.USAGE
    with pytest.raises(MedsegError) as keywords:
        planned(request(place, "loss.keywords={nonsense: 1}"))
    assert keywords.value.code == Code.RECIPE_INVALID
    with pytest.raises(MedsegError) as missing:
        planned(Request(str(place / "boxes.yaml"), place / "nowhere", place / "work"))
    assert missing.value.code == Code.PATH_MISSING and not (place / "work").exists()


def test_a_work_folder_that_is_there_stays_as_it_is(place: Path) -> None:
    pipeline.run(request(place), Reporter(quiet=True, stream=io.StringIO(), results=io.StringIO()))
    before = contents(place)
    ended, plan = planned(request(place))
    assert ended == ExitCode.DONE and contents(place) == before
    assert plan["folds"][0]["trained"] is True
    with pytest.raises(MedsegError) as changed:
        planned(request(place, "train.lr=0.5"))
    assert changed.value.code == Code.SETTINGS_CHANGED and contents(place) == before
    assert planned(request(place, "train.lr=0.5"), overwrite=True)[0] == ExitCode.DONE
    assert planned(request(place), start="ingest")[0] == ExitCode.DONE and contents(place) == before


def test_results_among_the_data_are_no_data(place: Path) -> None:
    among = Request(str(place / "boxes.yaml"), place, place / "work", ("data.layout=auto",))
    tree = recipe_tree()
    del tree["data"]["channels"], tree["data"]["label"], tree["data"]["layout"]
    (place / "boxes.yaml").write_text(yaml.safe_dump(tree))
    usual = Request(str(place / "boxes.yaml"), place / "data", place / "data/work")
    quiet = Reporter(quiet=True, stream=io.StringIO(), results=io.StringIO())
    for stage in ("ingest", "preprocess"):
        pipeline.run(usual, quiet, only=stage)
    assert among.work is not None and planned(usual)[1]["cases"] == 6


def test_a_dicom_export_keeps_the_pseudonyms_of_its_work_folder(place: Path) -> None:
    as_dicom(place / "data", place / "CANARY", SeriesDescription="t1 sag")
    tree = recipe_tree()
    tree["data"] = {
        "layout": "dicom",
        "series": {"t1": "t1*"},
        "classes": {0: "background", 1: "outer", 2: "inner"},
        "splits": {"test": 0.2, "val": 0.2},
    }
    (place / "boxes.yaml").write_text(yaml.safe_dump(tree))
    wanted = Request(str(place / "boxes.yaml"), place / "CANARY", place / "work")
    assert planned(wanted)[1]["cases"] == 6 and not (place / "work").exists()
    quiet = Reporter(quiet=True, stream=io.StringIO(), results=io.StringIO())
    pipeline.run(wanted, quiet, only="ingest")
    before = contents(place / "work")
    _, plan = planned(wanted)
    named = {case for part in plan["folds"][0]["roles"].values() for case in part["cases"]}
    cases = {line.split(",")[0] for line in (place / "work/ingest/cases.csv").read_text().splitlines()[1:]}
    assert named == cases and contents(place / "work") == before and plan["data"] == ""


@pytest.mark.parametrize(
    "settings",
    [
        ("sampling.order=shuffled", "sampling.foreground_oversampling=0"),
        ("sampling.plane=[axial, coronal]", "sampling.plane_networks=separate"),
        ("predict.mode=vote", "predict.stride=[4, 4]"),
        ("predict.mode=gaussian",),
        ("loss.class_weights=median_frequency",),
        ("train.optimiser=sgd", "train.lr=0.01", "train.validate_every=3", "train.epochs=7"),
    ],
    ids=lambda settings: settings[0],
)
def test_every_way_of_training_and_predicting_is_estimated(place: Path, settings: tuple[str, ...]) -> None:
    ended, plan = planned(request(place, *settings))
    assert ended == ExitCode.DONE
    assert all(value > 0 for value in plan["megabytes"].values())


@pytest.mark.parametrize(("batch", "accumulate", "steps"), [(2, 1, 1), (3, 1, 1), (1, 1, 2), (1, 2, 1)])
def test_an_epoch_of_shuffled_cases_has_one_step_for_each_batch(
    place: Path, monkeypatch: pytest.MonkeyPatch, batch: int, accumulate: int, steps: int
) -> None:
    monkeypatch.setattr(speed, "seconds_of_step", lambda _: 0.5)
    settings = ("sampling.order=shuffled", "sampling.foreground_oversampling=0", "train.epochs=4")
    sizes = (f"train.batch={batch}", f"train.accumulate={accumulate}")
    _, plan = planned(request(place, *settings, *sizes))
    trained = plan["folds"][0]["roles"]["train"]["cases"]
    assert len(trained) == 2 and plan["seconds"]["train"] == 0.5 * 4 * steps


def test_costs_grow_with_epochs_folds_and_overlap(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a machine of a known speed every figure can be worked out by hand."""
    monkeypatch.setattr(speed, "seconds_of_step", lambda _: 0.5)
    monkeypatch.setattr(speed, "seconds_of_pixel", lambda *_: 1e-3)
    (place / "boxes.yaml").write_text(
        yaml.safe_dump(recipe_tree(preprocess={"crop": False}, train={**TRAIN, "epochs": 4}))
    )
    seconds = planned(request(place))[1]["seconds"]
    voxels = 20 * 24 * 6
    assert seconds["train"] == 0.5 * 4 * 2
    assert seconds["validate"] == pytest.approx(1e-3 * voxels * 1 * 4, abs=0.1)
    assert seconds["predict"] == pytest.approx(1e-3 * voxels * 3, abs=0.1)
    voting = planned(request(place, "predict.mode=vote", "predict.stride=[8, 4]"))[1]["seconds"]
    assert voting["predict"] == pytest.approx(seconds["predict"] * (16 / 8) * (16 / 4), rel=0.01)
    folds = planned(request(place, fold="all"))[1]["seconds"]
    assert folds["train"] == 2 * seconds["train"]
    assert folds["validate"] == pytest.approx(2 * seconds["validate"], abs=0.1)


@pytest.mark.parametrize(("rank", "prints"), [("0", True), ("1", False)])
def test_of_processes_that_torchrun_started_the_first_alone_plans(
    place: Path, monkeypatch: pytest.MonkeyPatch, rank: str, prints: bool
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": rank}.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    assert dry_run.run(request(place), Reporter(stream=stream)) is ExitCode.DONE
    assert bool(stream.getvalue()) is prints
    assert request(place).with_processes().settings[-1] == "train.processes=2"


def test_a_recipe_for_a_gpu_is_planned_on_the_cpu_with_a_note(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted = request(place, "train.device=cuda")
    ended, plan = planned(wanted)
    assert ended == ExitCode.DONE and plan["device"] == "cpu"
    assert "the recipe is for cuda, which this machine lacks" in plan["notes"][0]
    assert "--set train.device=cuda" in plan["command"] and planned(request(place))[1]["notes"] == []
    with pytest.raises(MedsegError) as refused:
        pipeline.run(wanted, Reporter(stream=io.StringIO()))
    assert refused.value.code == Code.USAGE and not (place / "work").exists()


@pytest.mark.parametrize("name", ["ibsr18_gpu", "hippocampus_gpu"])
def test_packaged_recipes_for_a_gpu(name: str) -> None:
    train = load.load(name).train
    assert (train.minutes, train.device) == (15, "cuda")
    header = load.locate(name).read_text().partition("\nname:")[0]
    assert "no score is claimed" in header and "Dice" not in header
