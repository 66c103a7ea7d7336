"""A stage verifies what it left behind and makes just the lost part again, without training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.train import state
from pipelines.job import STAGES
from tests.helpers.box_runs import go
from tests.helpers.box_subjects import make_subjects


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, and `work` in which both folds were trained."""
    place = tmp_path_factory.mktemp("done")
    make_subjects(place / "data", labelled=5)
    go(place / "data", place / "work", fold="all")
    return place


@pytest.fixture
def data(done: Path) -> Path:
    return done / "data"


@pytest.fixture
def work(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done / "work", tmp_path / "work")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def results(work: Path) -> dict[str, bytes]:
    patterns = ("model/*.safetensors", "predictions/**/*.nii.gz", "evaluation/scores.csv", "prepared/*/*.npy")
    return {str(p.relative_to(work)): p.read_bytes() for pattern in patterns for p in work.glob(pattern)}


@pytest.mark.parametrize(
    ("name", "stage", "damage"),
    [
        ("ingest/cases.csv", "ingest", cut),
        ("ingest/splits.csv", "ingest", Path.unlink),
        ("prepared/s1/image.npy", "preprocess", Path.unlink),
        ("prepared/s1/image.npy", "preprocess", flip_a_byte),
        ("prepared/s0/label.npy", "preprocess", cut),
        ("prepared/s2/positions.npy", "preprocess", Path.unlink),
        ("prepared/s0/record.json", "preprocess", flip_a_byte),
        ("prepared/s0/key.json", "preprocess", cut),
        ("model/fold1.safetensors", "train", Path.unlink),
        ("model/fold0.safetensors", "train", flip_a_byte),
        ("model/model.json", "train", cut),
        ("train/0/best.ckpt", "train", Path.unlink),
        ("train/1/best.ckpt", "train", flip_a_byte),
        ("predictions/fold0/s3.nii.gz", "predict", cut),
        ("predictions/fold1/s0.nii.gz", "predict", flip_a_byte),
        ("evaluation/scores.csv", "evaluate", cut),
        ("report/report.html", "report", Path.unlink),
    ],
)
def test_just_the_lost_file_is_made_again(
    data: Path, work: Path, name: str, stage: str, damage: Callable[[Path], None]
) -> None:
    before = results(work)
    damage(work / name)
    said = go(data, work, fold="all")[1]
    assert f"{stage}: up to date" not in said
    assert f"{stage}: " in said and "made again" in said
    assert "trained in" not in said
    assert results(work) == before
    assert go(data, work, fold="all")[1].count("up to date") == len(STAGES)


def test_the_other_cases_arrays_stay(data: Path, work: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in work.glob("prepared/*/*.npy")}
    (work / "prepared/s1/image.npy").unlink()
    go(data, work, fold="all")
    changed = {p.parent.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert changed == {"s1"}


def test_a_copied_work_folder_is_up_to_date(data: Path, work: Path) -> None:
    for path in work.rglob("*"):
        path.touch()
    assert go(data, work, fold="all")[1].count("up to date") == len(STAGES)


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_byte])
def test_best_weights_and_their_export_both_lost_come_from_the_last_checkpoint(
    data: Path, work: Path, damage: Callable[[Path], None]
) -> None:
    before = results(work)
    damage(work / "train/1/best.ckpt")
    damage(work / "model/fold1.safetensors")
    said = go(data, work, fold="all")[1]
    assert "best.ckpt was missing or damaged and is made again from" in said
    assert "trained in" not in said
    assert results(work) == before


def test_best_weights_that_are_nowhere_else_are_a_coded_refusal(data: Path, work: Path) -> None:
    for name in ("train/1/best.ckpt", "train/1/last.ckpt", "model/fold1.safetensors"):
        (work / name).unlink()
    with pytest.raises(MedsegError) as caught:
        go(data, work, fold="all")
    assert caught.value.code is Code.CHECKPOINT_UNREADABLE
    assert "train/1/best.ckpt" in caught.value.finding.where
    assert "--from train" in caught.value.finding.how_to_fix
    said = go(data, work, fold="1", start="train")[1]
    assert "fold 1: trained in" in said and "fold 0: trained in" not in said


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_an_unfinished_training_without_its_checkpoint_is_a_coded_refusal(
    data: Path, work: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = work / "train/0"
    (folder / "done.json").unlink()
    checkpoint = state.read_any(folder / "last.ckpt")
    checkpoint.state.history[-1]["is_best"] = False
    checkpoint.state.history.insert(0, {**checkpoint.state.history[0], "is_best": True})
    state.write(folder / "last.ckpt", checkpoint)
    damage(folder / name)
    with pytest.raises(MedsegError) as caught:
        go(data, work)
    assert caught.value.code is Code.CHECKPOINT_UNREADABLE
    assert caught.value.finding.where.endswith(name)
    assert "--from train" in caught.value.finding.how_to_fix


def test_an_unfinished_trainings_best_weights_come_from_its_last_epoch(data: Path, work: Path) -> None:
    before = results(work)
    (work / "train/0/done.json").unlink()
    (work / "train/0/best.ckpt").unlink()
    assert "is made again from" in go(data, work, fold="all")[1]
    assert results(work) == before


@pytest.mark.parametrize(("name", "code"), [("image.npy", Code.STAGE_MISSING), ("label.npy", Code.TRUNCATED)])
def test_training_alone_names_the_lost_array_and_what_makes_it(
    data: Path, work: Path, name: str, code: Code
) -> None:
    path = work / "prepared/s0" / name
    path.unlink() if code is Code.STAGE_MISSING else cut(path)
    with pytest.raises(MedsegError) as caught:
        go(data, work, only="train")
    assert caught.value.code is code
    assert "medseg preprocess" in caught.value.finding.how_to_fix


def test_a_stage_alone_names_the_earlier_stage_whose_file_is_lost(data: Path, work: Path) -> None:
    flip_a_byte(work / "model/fold0.safetensors")
    with pytest.raises(MedsegError) as caught:
        go(data, work, only="predict")
    assert caught.value.code is Code.STAGE_MISSING
    assert "model/fold0.safetensors" in caught.value.finding.where
    assert caught.value.finding.how_to_fix.startswith("medseg train ")


def test_what_stage_json_knows_of_a_file(work: Path) -> None:
    known = files.read_json(work / "train/stage.json")["files"]["model/fold0.safetensors"]
    path = work / "model/fold0.safetensors"
    assert known["bytes"] == path.stat().st_size
    assert known["sha256"] == files.sha256(path)
