"""`train.minutes`: a length planned once from the speed of the machine, the same for folds and later runs."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from medseg import files
from medseg.config import load
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import dry_run
from pipelines.fold import planned_length, speed
from pipelines.fold.speed import Moment
from pipelines.run import Request
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go, recipe_tree
from tests.helpers.box_subjects import make_subjects

PLANNED = {k: v for k, v in TRAIN.items() if k not in ("epochs", "steps_per_epoch")} | {"minutes": 0.1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=5)
    return tmp_path / "data"


@pytest.fixture
def a_step(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of a step of this machine, to be changed; without trials."""
    seconds = [0.5]
    monkeypatch.setattr(speed, "seconds_of_step", lambda _: seconds[0])
    monkeypatch.setattr(speed, "seconds_of_pixel", lambda *_: 1e-6)
    return seconds


def trained(work: Path, fold: int = 0) -> dict[str, torch.Tensor]:
    return dict(safetensors.torch.load_file(work / f"model/fold{fold}.safetensors"))


def run(data: Path, work: Path, *settings: str, **options: Any) -> str:
    ended, said = go(data, work, *settings, parts={"train": PLANNED}, **options)
    assert ended == ExitCode.DONE
    return said


def test_folds_resumes_and_repetitions_have_one_length(
    data: Path, tmp_path: Path, a_step: list[float]
) -> None:
    work = tmp_path / "work"
    said = run(data, work)
    record = files.read_json(work / "train_length.json")
    steps = record["length"]["epochs"] * record["length"]["steps_per_epoch"]
    assert "0.1 min are" in said and 1 <= steps <= 12 and "train.minutes: give it more" in said
    assert len(files.read_csv(work / "train/0/history.csv")) == record["length"]["epochs"]

    a_step[0] = 0.1  # a machine five times as fast goes on as it was planned
    weights, history = trained(work), (work / "train/0/history.csv").read_bytes()
    assert "as recorded in train_length.json" in run(data, work)
    assert (work / "train/0/history.csv").read_bytes() == history
    record_before = (work / "train_length.json").read_bytes()
    assert "as recorded in train_length.json" in run(data, work, "predict.mode=vote")
    assert (work / "train_length.json").read_bytes() == record_before
    run(data, work, fold="1")
    one = files.read_csv(work / "train/1/history.csv")
    assert len(one) == record["length"]["epochs"] and files.read_json(work / "train_length.json") == record
    again = tmp_path / "again"
    again.mkdir()
    (again / "train_length.json").write_bytes((work / "train_length.json").read_bytes())
    run(data, again)
    assert all(torch.equal(value, weights[name]) for name, value in trained(again).items())

    kept = load.load(str(work / "recipe.yaml"))
    assert kept.train.minutes == 0.1 and not {"epochs", "steps_per_epoch"} & kept.train.model_fields_set


def test_other_settings_are_refused_by_their_own_names_and_planned_anew(
    data: Path, tmp_path: Path, a_step: list[float]
) -> None:
    work = tmp_path / "work"
    run(data, work)
    for setting, named in (("train.lr=0.5", "train.lr"), ("train.minutes=0.2", "train.minutes")):
        with pytest.raises(MedsegError) as refused:
            run(data, work, setting)
        assert refused.value.code == Code.SETTINGS_CHANGED
        assert named in refused.value.finding.details and "epochs" not in refused.value.finding.details
    before = files.read_json(work / "train_length.json")
    a_step[0] = 0.25
    run(data, work, "train.minutes=0.2", overwrite=True)
    after = files.read_json(work / "train_length.json")
    assert (before["minutes"], after["minutes"], after["seconds_of_step"]) == (0.1, 0.2, 0.25)
    a_step[0] = 0.5
    run(data, work, "train.minutes=0.2", start="train")
    assert files.read_json(work / "train_length.json")["seconds_of_step"] == 0.5


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "train_length.json").write_text('{"minutes": 1}')
    with pytest.raises(MedsegError) as refused:
        planned_length.read(Work(tmp_path))
    assert refused.value.code == Code.CHECKPOINT_UNREADABLE


def test_a_dry_run_says_the_length(data: Path, tmp_path: Path, a_step: list[float]) -> None:
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(recipe_tree(train=PLANNED)))
    request = Request(str(tmp_path / "boxes.yaml"), data, tmp_path / "work")
    for as_json in (False, True):
        results = io.StringIO()
        say = Reporter(stream=io.StringIO(), results=results)
        assert dry_run.run(request, say, as_json=as_json) == ExitCode.DONE
    plan = json.loads(results.getvalue())
    steps = plan["epochs"] * plan["steps_per_epoch"]
    assert (plan["minutes"], steps) == (0.1, 11) and "0.1 min are" in plan["length"][0]
    assert plan["seconds"]["train"] + plan["seconds"]["validate"] == pytest.approx(6, rel=0.2)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["train.minutes=5"], "train.epochs"),
        (["train.minutes=5", "train.epochs=null"], "train.steps_per_epoch"),
        (["train.minutes=5", "train.validate_cases=1"], "train.validate_cases"),
        (["train.minutes=5", "train.resizing=[{epochs: 10, scale: 1}]"], "train.resizing"),
        (["train.minutes=0"], "train.minutes"),
        (["train.minutes=.inf"], "train.minutes"),
    ],
)
def test_clashes_are_refused_by_key(settings: list[str], key: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load.load("ibsr18_quick", settings)
    assert any(problem.where.endswith(f": {key}") for problem in refused.value.problems)


def test_null_leaves_a_key_out() -> None:
    settings = ["train.minutes=5", "train.epochs=null", "train.steps_per_epoch=null"]
    train = load.load("ibsr18_quick", settings).train
    assert train.minutes == 5 and not {"epochs", "steps_per_epoch"} & train.model_fields_set


# Speed


def moments(*steps: tuple[float, float, float]) -> list[Moment]:
    """Moments after steps of so many seconds (wall, thread, process)."""
    total, ends = (0.0, 0.0, 0.0), [Moment(0, 0, 0)]
    for step in steps:
        total = (total[0] + step[0], total[1] + step[1], total[2] + step[2])
        ends.append(Moment(*total))
    return ends


def test_neighbours_stretch_the_wall_clock_and_not_the_speed() -> None:
    alone = moments(*[(0.1, 0.1, 0.15)] * 4)
    crowded = moments((0.3, 0.1, 0.15), (1.1, 0.1, 0.15), (0.4, 0.11, 0.16), (0.35, 0.1, 0.15))
    for ends in (alone, crowded):
        assert speed.step_alone(ends, on_cpu=True, processors=2) == pytest.approx(0.1)
    assert speed.step_alone(alone, on_cpu=True, processors=1) == pytest.approx(0.15)  # it draws, too
    assert speed.step_alone(crowded, on_cpu=False, processors=2) == pytest.approx(0.3)  # a GPU's fastest
    assert speed.step_alone(moments((0.2, 0, 0)), on_cpu=True, processors=2) == 0.2  # a coarse clock


def test_the_clocks_are_the_system_s() -> None:
    before, began = Moment.now(), time.perf_counter()
    while time.perf_counter() - began < 0.02:
        pass
    after = Moment.now()
    assert after.wall - before.wall >= 0.02
    assert after.process > before.process and after.thread > before.thread
