"""A training with other settings or data is kept: it is refused, or moved aside, never deleted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.errors import Code, ExitCode, MedsegError
from medseg.train.fit import fit
from pipelines.fold.earlier import differences
from pipelines.job import STAGES
from pipelines.stages import train as train_stage
from pipelines.workfolder import Work
from tests.helpers.box_runs import go
from tests.helpers.box_subjects import make_subjects


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, and `work` in which fold 0 was trained."""
    place = tmp_path_factory.mktemp("done")
    make_subjects(place / "data", labelled=5)
    assert go(place / "data", place / "work")[0] == ExitCode.DONE
    return place


@pytest.fixture
def data(done: Path) -> Path:
    return done / "data"


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    """A folder with a copy of `done/work`."""
    shutil.copytree(done / "work", tmp_path / "work")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(data: Path, work: Path, *settings: str, **keywords: Any) -> MedsegError:
    with pytest.raises(MedsegError) as caught:
        go(data, work, *settings, **keywords)
    assert caught.value.code is Code.SETTINGS_CHANGED, caught.value
    assert caught.value.exit_code == ExitCode.USAGE
    return caught.value


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.epochs=2", "train.epochs 1 → 2"),
        ("train.augment.noise=0.1", "train.augment.noise 0.0 → 0.1"),
        ("train.monitor=miou", "train.monitor default → miou"),
        ("train.clip=1.0", "train.clip none → 1.0"),
        ("train.seed=1", "train.seed 0 → 1"),
        ("loss.name=ce", "loss.name ce_dice → ce"),
        ("network.keywords={width: 3}", "network.keywords.width 2 → 3"),
        ("sampling.window=[32, 32]", "sampling.window [16, 16] → [32, 32]"),
        ("sampling.plane_networks=separate", "sampling.plane_networks shared → separate"),
        ("preprocess.crop=false", "preprocess.crop True → False"),
        ("data.classes={0: background, 1: outer, 2: core}", "inner"),
        ("train.processes=2", "train.processes 1 → 2"),
    ],
)
@pytest.mark.parametrize("only", [None, "train"])
def test_other_settings_are_refused_before_anything_runs(
    place: Path, data: Path, setting: str, said: str, only: str | None
) -> None:
    settings = [setting]
    if "separate" in setting:
        settings.append("sampling.plane=[axial, coronal]")
    before = contents(place / "work")
    error = refused(data, place / "work", *settings, only=only)
    assert said in error.finding.details
    assert error.finding.where.endswith("work/train/0")
    for way in ("--work", "--overwrite", "network.init_from="):
        assert way in error.finding.how_to_fix
    assert contents(place / "work") == before


def test_all_keys_that_changed_are_listed(place: Path, data: Path) -> None:
    details = refused(data, place / "work", "train.epochs=2", "train.lr=0.5").finding.details
    assert "train.lr 0.001 → 0.5" in details and "train.epochs 1 → 2" in details


@pytest.mark.parametrize(
    "setting", ["train.threads=2", "train.device=auto", "train.channels_last=false", "train.draw_from=device"]
)
def test_where_and_how_fast_it_runs_makes_no_other_training(place: Path, data: Path, setting: str) -> None:
    assert "train: up to date" in go(data, place / "work", setting)[1]


def test_a_classs_colour_makes_no_other_training(place: Path, data: Path) -> None:
    classes = "{0: background, 1: {name: outer, colour: [1, 2, 3]}, 2: inner}"
    before = (place / "work/train/0/best.ckpt").read_bytes()
    assert go(data, place / "work", f"data.classes={classes}")[0] == ExitCode.DONE
    assert (place / "work/train/0/best.ckpt").read_bytes() == before


def test_overwriting_moves_the_training_aside_and_keeps_it_whole(place: Path, data: Path) -> None:
    work, before = place / "work", contents(place / "work/train/0")
    ended, said = go(data, work, "train.epochs=2", overwrite=True)
    assert (ended, str(work / "train_old/0-1") in said) == (ExitCode.DONE, True)
    assert contents(work / "train_old/0-1") == before
    assert len(files.read_csv(work / "train/0/history.csv")) == 2
    # the same command goes on instead of beginning anew
    again = go(data, work, "train.epochs=2", overwrite=True)[1]
    assert "train: up to date" in again
    go(data, work, "train.epochs=3", only="train", overwrite=True)
    assert sorted(p.name for p in (work / "train_old").iterdir()) == ["0-1", "0-2"]
    assert contents(work / "train_old/0-1") == before


def test_from_train_moves_the_training_aside(place: Path, data: Path) -> None:
    work, before = place / "work", contents(place / "work/train/0")
    go(data, work, start="train")
    assert contents(work / "train_old/0-1") == before
    assert (work / "train/0/best.ckpt").is_file()


def test_the_ways_that_are_offered_work(place: Path, data: Path) -> None:
    model = place / "work/model"
    before = contents(place / "work")
    go(data, place / "work_2", "train.epochs=2", f"network.init_from={model}")
    card = (place / "work_2/model/card.md").read_text()
    assert "started from boxes (fold0)" in card
    assert contents(place / "work") == before


def test_going_on_from_its_own_weights_in_the_same_folder(place: Path, data: Path) -> None:
    settings = ("train.lr=0.01", f"network.init_from={place / 'work/model'}")
    refused(data, place / "work", *settings)
    said = go(data, place / "work", *settings, overwrite=True)[1]
    assert f"starts from {place / 'work/model'}" in said
    assert "train: up to date" in go(data, place / "work", *settings)[1]


class KilledError(Exception):
    """Stands for the end of the process."""


def test_an_unfinished_training_is_kept_as_well(
    place: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(**arguments: Any) -> Any:
        for epoch in fit(**arguments):
            yield epoch
            if "best.ckpt" in {path.name for path in (place / "half/train/0").glob("*")}:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(train_stage, "fit", killed)
        with pytest.raises(KilledError):
            go(data, place / "half", "train.epochs=3")
    before = contents(place / "half/train")
    assert "0/last.ckpt" in before and "0/done.json" not in before
    with pytest.raises(MedsegError) as caught:
        go(data, place / "half", "train.epochs=4")
    assert caught.value.code is Code.SETTINGS_CHANGED
    assert "an unfinished training" in caught.value.finding.details
    assert "resume" in caught.value.finding.how_to_fix
    assert "init_from" not in caught.value.finding.how_to_fix
    assert contents(place / "half/train") == before
    assert "going on from the last checkpoint" in go(data, place / "half", "train.epochs=3")[1]


def test_a_folder_whose_training_never_reached_a_checkpoint_is_used(place: Path, data: Path) -> None:
    go(data, place / "none", only="ingest")
    (place / "none/train/0").mkdir(parents=True)
    files.write_json(place / "none/train/0/training.json", {"key": "x", "settings": {}, "preprocess": {}})
    assert go(data, place / "none")[0] == ExitCode.DONE


def test_a_training_whose_settings_are_not_known_is_judged_by_its_checkpoint(place: Path, data: Path) -> None:
    for name in ("training.json", "stage.json"):
        next((place / "work").glob(f"train/**/{name}")).unlink()
    assert "trained in" not in go(data, place / "work")[1]
    (place / "work/train/0/training.json").unlink()
    error = refused(data, place / "work", "train.lr=0.5")
    assert "not known" in error.finding.details


def test_changed_data_are_refused_when_the_arrays_are_made(place: Path, data: Path) -> None:
    data = shutil.copytree(data, place / "data")
    path = data / "s1/s1.nii.gz"
    image = nib.load(path)
    nib.Nifti1Image(np.asarray(image.dataobj) * np.int16(2), image.affine).to_filename(path)
    before = contents(place / "work/train/0")
    error = refused(data, place / "work")
    assert "training cases: s1 changed" in error.finding.details
    assert contents(place / "work/train/0") == before
    assert "trained in" in go(data, place / "work", overwrite=True)[1]


def test_other_cases_are_refused_before_they_are_prepared(place: Path, data: Path) -> None:
    splits = "[{train: [s0, s1, s3], val: [s2], test: [s4]}]"
    prepared = sorted(p.name for p in (place / "work/prepared").iterdir())
    error = refused(data, place / "work", f"data.splits={splits}")
    assert "training cases: s3 added" in error.finding.details
    assert sorted(p.name for p in (place / "work/prepared").iterdir()) == prepared


def test_settings_that_give_the_same_arrays_are_accepted_once_overwritten(place: Path, data: Path) -> None:
    """A margin that crops nothing away: the training is the same, and is not made again."""
    go(data, place / "work", "preprocess.crop_margin=50", overwrite=True)
    before = contents(place / "work/train/0")
    refused(data, place / "work", "preprocess.crop_margin=60")
    said = go(data, place / "work", "preprocess.crop_margin=60", overwrite=True)[1]
    assert "trained in" not in said
    after = contents(place / "work/train/0")
    assert after["best.ckpt"] == before["best.ckpt"]
    assert "train: up to date" in go(data, place / "work", "preprocess.crop_margin=60")[1]


def test_another_folds_training_stays_where_it_is(place: Path, data: Path) -> None:
    go(data, place / "work", fold="1")
    before = contents(place / "work/train/1")
    said = go(data, place / "work", "train.lr=0.5", fold="0", overwrite=True)[1]
    assert "fold 1 is no member of the model" in said
    assert contents(place / "work/train/1") == before


def test_what_was_moved_aside_is_no_curve_and_no_member(place: Path, data: Path) -> None:
    go(data, place / "work", "train.lr=0.5", overwrite=True)
    assert list(Work(place / "work").histories) == ["0"]
    members = files.read_json(place / "work/model/model.json")["members"]
    assert [m["name"] for m in members] == ["fold0"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a 1 → 2"]),
        ({"a": 1}, {}, ["a 1 → default"]),
        (
            {"validation cases": {"x": "1", "y": "2"}},
            {"validation cases": {"y": "2", "x": "1"}},
            ["validation cases: in another order"],
        ),
        (
            {"training cases": {"x": "1", "y": "2"}},
            {"training cases": {"y": "3", "z": "1"}},
            ["training cases: z added, x removed, y changed"],
        ),
    ],
)
def test_differences_are_said_in_words(old: Any, new: Any, expected: list[str]) -> None:
    assert differences(old, new) == expected


def test_codes_of_classes_reach_the_model_without_a_training(data: Path, place: Path) -> None:
    best = place / "work/train/0/best.ckpt"
    before = best.read_bytes(), best.stat().st_mtime_ns
    for value, meaning in (("12738006", "Brain"), ("5366008", "Hippocampus")):
        codes = f"data.codes={{inner: {{type: {{value: '{value}', meaning: {meaning}}}}}}}"
        ended, said = go(data, place / "work", codes)
        assert ended == ExitCode.DONE and "epoch" not in said
        rows = files.read_json(place / "work/model/model.json")["description"]["classes"]
        assert rows[2]["codes"]["type"]["meaning"] == meaning
        assert f"inner is {meaning} (SCT {value})" in (place / "work/model/card.md").read_text()
    assert (best.read_bytes(), best.stat().st_mtime_ns) == before


def test_rules_of_series_reach_the_model_without_a_training(data: Path, place: Path) -> None:
    best = place / "work/train/0/best.ckpt"
    before = best.read_bytes(), best.stat().st_mtime_ns
    for contrast in ("t2", "flair"):
        ended, said = go(data, place / "work", f"data.series={{t1: {{contrast: [{contrast}]}}}}")
        assert ended == ExitCode.DONE and "epoch" not in said and "ingest: up to date" in said
        assert said.count("up to date") == len(STAGES) - 2  # the report shows the recipe
        rules = files.read_json(place / "work/model/model.json")["description"]["series"]["t1"]
        assert (rules["contrast"], rules["modality"]) == ([contrast], ["MR"])
        assert f"- t1: modality MR; contrast {contrast}" in (place / "work/model/card.md").read_text()
    assert (best.read_bytes(), best.stat().st_mtime_ns) == before


def test_rules_for_a_channel_that_ingest_does_not_find_are_refused(place: Path) -> None:
    make_subjects(place / "plain", labelled=2)
    parts = {"data": {"layout": "auto", "classes": {0: "background", 1: "outer", 2: "inner"}}}
    settings = ("data.series={t9: '*x*'}", "data.splits={val: 0, test: 0}")
    with pytest.raises(MedsegError, match="no channel t9; name some of ") as refused:
        go(place / "plain", place / "other", *settings, parts=parts, only="ingest")
    assert refused.value.code == Code.RECIPE_INVALID
