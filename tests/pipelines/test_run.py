"""A whole recipe on four tiny subjects: every stage once, then only what changed."""

from __future__ import annotations

import html
import io
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import run as pipeline
from pipelines.job import STAGES
from pipelines.run import Request
from pipelines.workfolder import Work, only_one
from tests.helpers.box_subjects import make_subjects

SMALL_TRAINING = {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "threads": 1, "precision": "fp32"}


def tree(**parts: Any) -> dict[str, Any]:
    return {
        "name": "boxes",
        "data": {
            "layout": "patterns",
            "channels": {"t1": "{case}/{case}.nii.gz"},
            "label": "{case}/{case}_seg.nii.gz",
            "classes": {0: "background", 1: "outer", 2: "inner"},
            "splits": [
                {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3", "s4"]},
                {"train": ["s3", "s4"], "val": ["s2"], "test": ["s0", "s1"]},
            ],
        },
        "sampling": {"window": [16, 16]},
        "network": {"name": "usegnet", "keywords": {"width": 2}},
        "train": SMALL_TRAINING,
        **parts,
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=5, unlabelled=1)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree()))
    return tmp_path


def go(place: Path, *settings: str, **keywords: Any) -> tuple[ExitCode, str]:
    """Run the recipe in `place/work`; the exit code and what was said."""
    stream = io.StringIO()
    fold = keywords.pop("fold", None)
    request = Request(str(place / "boxes.yaml"), place / "data", place / "work", settings, fold)
    ended = pipeline.run(request, Reporter(stream=stream, log=place / "work/medseg.log"), **keywords)
    return ended, stream.getvalue()


OFF = "tracking.enabled=false"


def test_a_run_writes_what_the_work_folder_promises_and_tracks_it(place: Path) -> None:
    ended, said = go(place)
    assert ended == ExitCode.DONE
    work = place / "work"
    for path in (
        "recipe.yaml",
        "ingest/cases.csv",
        "ingest/quarantine.csv",
        "ingest/dataset.json",
        "ingest/splits.csv",
        "prepared/s0/image.npy",
        "prepared/s0/record.json",
        "train/0/last.ckpt",
        "train/0/best.ckpt",
        "train/0/history.csv",
        "model/model.json",
        "model/card.md",
        "predictions/s3.nii.gz",
        "predictions/s3.json",
        "predictions/s5.nii.gz",
        "predictions/labels.json",
        "evaluation/scores.csv",
        "evaluation/summary.json",
        "evaluation/confusion.csv",
        "report/report.html",
        "mlflow.db",
        "medseg.log",
    ):
        assert (work / path).is_file(), path
    scored = {(r["case"], r["class"]) for r in files.read_csv(work / "evaluation/scores.csv")}
    assert scored == {(case, name) for case in ("s3", "s4") for name in ("outer", "inner")}
    assert "about" in said  # the plan, before the first step
    before = stamps(work)
    _, said = go(place)
    assert said.count("up to date") == len(STAGES)
    assert said.splitlines()[-2:] == pipeline.next_steps(Work(work))
    assert stamps(work) == before


def stamps(work: Path) -> dict[str, int]:
    """Modification times of all but the store, the log and the recipe, which each command writes."""
    skip = {"mlflow.db", "medseg.log", "recipe.yaml", "tracking.json", ".lock", ".mlflow.lock"}
    paths = [
        p for p in work.rglob("*") if p.is_file() and p.name not in skip and "mlartifacts" not in p.parts
    ]
    return {str(p): p.stat().st_mtime_ns for p in paths}


def test_changed_inputs_and_settings_redo_only_what_depends_on_them(place: Path) -> None:
    go(place, OFF)
    _, said = go(place, OFF, "evaluate.nsd_tolerance=2.0")
    assert said.count("up to date") == 4  # ingest, preprocess, train, predict
    before = stamps(place / "work")
    shutil.copy(place / "data/s5/s5.nii.gz", place / "data/s5/copy.nii.gz")
    nib.Nifti1Image(
        np.asarray(nib.load(place / "data/s5/copy.nii.gz").dataobj) * np.int16(2), np.diag([1, 1, 2, 1])
    ).to_filename(place / "data/s5/s5.nii.gz")
    _, said = go(place, OFF, "evaluate.nsd_tolerance=2.0")
    after = stamps(place / "work")
    changed = {Path(p).name for p in after if after[p] != before.get(p)}
    assert "s5.nii.gz" in changed
    assert not changed & {"image.npy", "best.ckpt", "fold0.safetensors", "s3.nii.gz", "s4.nii.gz"}
    _, said = go(place, OFF, "train.lr=0.01", overwrite=True)
    assert "earlier training is kept in" in said and "trained in" in said


def test_all_folds_are_members_and_each_tests_its_own(place: Path) -> None:
    ended, _ = go(place, OFF, fold="all")
    assert ended == ExitCode.DONE
    work = place / "work"
    members = files.read_json(work / "model/model.json")["members"]
    assert [m["name"] for m in members] == ["fold0", "fold1"]
    assert (work / "predictions/fold0/s3.nii.gz").is_file()
    assert (work / "predictions/fold1/s0.nii.gz").is_file()
    assert (work / "predictions/s5.nii.gz").is_file()
    assert files.read_json(work / "predictions/s5.json")["members"] == ["fold0", "fold1"]
    rows = {(r["fold"], r["case"]) for r in files.read_csv(work / "evaluation/scores.csv")}
    assert rows == {("0", "s3"), ("0", "s4"), ("1", "s0"), ("1", "s1")}


def test_a_damaged_case_is_set_aside_and_the_run_goes_on(place: Path) -> None:
    broken = place / "data/s4/s4.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    ended, said = go(place, OFF)
    assert ended == ExitCode.SOME_EXCLUDED
    assert "TRUNCATED" in said
    (row,) = files.read_csv(place / "work/ingest/quarantine.csv")
    assert (row["case"], row["code"]) == ("s4", "TRUNCATED")
    assert {r["case"] for r in files.read_csv(place / "work/evaluation/scores.csv")} == {"s3"}


def test_a_missing_prediction_is_a_row_with_dice_zero(place: Path) -> None:
    go(place, OFF)
    (place / "work/predictions/s3.nii.gz").unlink()
    go(place, OFF, only="evaluate")
    rows = files.read_csv(place / "work/evaluation/scores.csv")
    assert {r["dice"] for r in rows if r["case"] == "s3"} == {"0.0"}
    assert len(rows) == 4


def test_stages_out_of_order_name_the_one_to_run(place: Path) -> None:
    for stage in STAGES[1:]:
        with pytest.raises(MedsegError) as caught:
            go(place, OFF, only=stage)
        assert caught.value.code == Code.STAGE_MISSING
        assert "medseg " in caught.value.finding.how_to_fix


@pytest.mark.parametrize(
    ("keywords", "code"),
    [
        ({"fold": "7"}, Code.USAGE),
        ({"start": "nowhere"}, Code.USAGE),
    ],
)
def test_choices_that_do_not_exist_are_refused(place: Path, keywords: dict[str, str], code: Code) -> None:
    with pytest.raises(MedsegError) as caught:
        go(place, OFF, **keywords)
    assert caught.value.code == code


def test_wrong_keywords_are_refused_together_before_anything_runs(place: Path) -> None:
    wrong = ("network.keywords={widht: 3}", "loss.keywords={smoth: 1}")
    with pytest.raises(RecipeError) as caught:
        go(place, OFF, *wrong)
    assert [p.code for p in caught.value.problems] == [Code.KEYWORD_INVALID] * 2
    assert ["widht" in caught.value.problems[0].details, "smoth" in caught.value.problems[1].details] == [
        True
    ] * 2
    assert not (place / "work").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("loss.keywords={weight: x}", "loss ce_dice"),
        ("train.phases=[{layers: [nowhere.*], lr: 0.1, epochs: 1}]", "nowhere"),
    ],
)
def test_wrong_values_of_the_loss_and_phases_of_no_layer_are_refused(
    place: Path, setting: str, words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        go(place, OFF, setting)
    (problem,) = caught.value.problems
    assert problem.code == Code.KEYWORD_INVALID
    assert words in str(problem)


def test_a_device_that_is_not_there_is_refused_with_those_that_are(place: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        go(place, OFF, "train.device=cuda:99")
    assert caught.value.code == Code.USAGE
    assert "cpu" in caught.value.finding.how_to_fix
    assert not (place / "work").exists()


@pytest.mark.parametrize(
    ("only", "code"),
    [("ingest", Code.PATH_MISSING), (None, Code.PATH_MISSING), ("train", Code.STAGE_MISSING)],
)
def test_a_start_that_fails_leaves_nothing(place: Path, only: str | None, code: Code) -> None:
    shutil.rmtree(place / "data")
    with pytest.raises(MedsegError) as caught:
        go(place, only=only)
    assert caught.value.code == code
    assert not (place / "work").exists()


def test_one_command_at_a_time_works_on_a_folder(place: Path) -> None:
    with only_one(Work(place / "work")):
        with pytest.raises(MedsegError) as caught:
            go(place, OFF, only="ingest")
        assert caught.value.code == Code.WORK_IN_USE
        assert not (place / "work/recipe.yaml").exists()
    go(place, OFF, only="ingest")


def test_a_later_stage_goes_on_with_the_recipe_of_the_work_folder(place: Path) -> None:
    go(place, OFF, "train.lr=0.02", "description=lower rate")
    kept = (place / "work/recipe.yaml").read_text()
    report = Request(str(place / "boxes.yaml"), None, place / "work")
    stream = io.StringIO()
    pipeline.run(report, Reporter(stream=stream), only="report")
    assert "report: up to date" in stream.getvalue()
    told = next(line for line in stream.getvalue().splitlines() if "is used" in line)
    assert all(key in told for key in ("description", "train.lr", "tracking.enabled"))
    assert (place / "work/recipe.yaml").read_text() == kept
    _, said = go(place, OFF, "predict.batch=2", only="predict")
    assert "predict: done" in said
    recipe = yaml.safe_load((place / "work/recipe.yaml").read_text())
    assert (recipe["train"]["lr"], recipe["predict"]["batch"]) == (0.02, 2)
    _, said = go(place, OFF, only="ingest")
    assert "is used" not in said
    assert yaml.safe_load((place / "work/recipe.yaml").read_text())["train"]["lr"] == 0.001


def test_a_recipe_of_another_name_replaces_the_one_kept(place: Path) -> None:
    go(place, OFF, only="ingest")
    (place / "boxes.yaml").write_text(yaml.safe_dump({**tree(), "name": "other"}))
    go(place, OFF, only="preprocess")
    assert yaml.safe_load((place / "work/recipe.yaml").read_text())["name"] == "other"


def test_the_report_names_the_command_in_words_of_a_shell(place: Path) -> None:
    go(place, OFF, "description=two words", fold="all")
    page = html.unescape((place / "work/report/report.html").read_text())
    call = f"medseg run {place}/boxes.yaml --work {place}/work --data {place}/data"
    assert f"{call} --set {OFF} --set 'description=two words' --fold all" in page


def test_results_are_said_on_stdout_even_when_quiet(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = Request(str(place / "boxes.yaml"), place / "data", place / "work", (OFF,))
    pipeline.run(request, Reporter(quiet=True))
    out, err = capsys.readouterr()
    assert err == ""
    assert "test: 2 cases" in out
    assert out.count("report.html") == 1


def test_an_unreachable_tracking_server_is_known_before_the_first_stage(place: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        go(place, "tracking.uri=http://127.0.0.1:9")
    assert caught.value.code == Code.TRACKING_UNREACHABLE
    assert not (place / "work").exists()


def test_an_empty_data_folder_is_nothing_usable(place: Path) -> None:
    shutil.rmtree(place / "data")
    (place / "data").mkdir()
    with pytest.raises(MedsegError) as caught:
        go(place, OFF)
    assert caught.value.code == Code.NOTHING_USABLE


def test_from_a_stage_on_everything_is_done_anew(place: Path) -> None:
    go(place, OFF)
    before, weights = stamps(place / "work"), (place / "work/model/fold0.safetensors").read_bytes()
    _, said = go(place, OFF, start="preprocess")
    assert said.count("up to date") == 1  # ingest
    assert "earlier training is kept in" in said
    after = stamps(place / "work")
    kept = {str(Path(p).relative_to(place / "work")) for p in after if after[p] == before.get(p)}
    assert {Path(p).parts[0] for p in kept} == {"ingest"}
    assert (place / "work/model/fold0.safetensors").read_bytes() == weights


def test_from_training_on_one_fold_the_other_folds_weights_stay(place: Path) -> None:
    go(place, OFF, fold="all")
    before = stamps(place / "work")
    _, said = go(place, OFF, start="train", fold="1")
    assert said.count("up to date") == 2
    after = stamps(place / "work")
    anew = [
        after[str(place / f"work/train/{k}/best.ckpt")] > before[str(place / f"work/train/{k}/best.ckpt")]
        for k in (0, 1)
    ]
    assert anew == [False, True]


def test_a_precision_that_the_device_lacks_is_refused_before_anything_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.device.choose", lambda _: "cpu")
    with pytest.raises(MedsegError) as caught:
        go(place, OFF, "train.precision=fp16")
    assert caught.value.code == Code.KEYWORD_INVALID
    assert not (place / "work").exists()


@pytest.mark.parametrize(("precision", "native"), [("bf16", False), ("bf16", True), ("auto", False)])
def test_an_emulated_bf16_is_told_with_its_factor_before_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, precision: str, native: bool
) -> None:
    monkeypatch.setattr("medseg.device._cpu_has_native_bf16", lambda: native)
    ended, said = go(place, OFF, f"train.precision={precision}", "train.device=cpu", only="ingest")
    assert ended == ExitCode.DONE
    _, said = go(place, OFF, only="preprocess")
    _, said = go(place, OFF, only="train")
    emulated = precision == "bf16" and not native
    assert ("7.4 times slower than fp32" in said) is emulated
    assert ("patches, fp32" if precision == "auto" else "patches, bf16") in said
    if emulated:
        assert said.index("7.4 times") < said.index("epoch 1")


def test_channels_that_only_the_layout_names_are_the_models(tmp_path: Path) -> None:
    make_subjects(tmp_path / "made", labelled=3)
    for n in range(3):
        for kind, ending in (("imagesTr", ""), ("labelsTr", "_seg")):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / f"made/s{n}/s{n}{ending}.nii.gz", tmp_path / f"data/{kind}/s{n}.nii.gz")
    files.write_json(tmp_path / "data/dataset.json", {"modality": {"0": "T1"}})
    splits = {"train": ["s0"], "val": ["s1"], "test": ["s2"]}
    data = {"layout": "decathlon", "classes": tree()["data"]["classes"], "splits": splits}
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree(data=data)))
    assert go(tmp_path, OFF)[0] == ExitCode.DONE
    assert files.read_json(tmp_path / "work/model/model.json")["description"]["channels"] == ["T1"]
    assert {r["note"] for r in files.read_csv(tmp_path / "work/evaluation/scores.csv")} == {""}


def test_a_run_without_data_goes_on_with_the_work_folders(place: Path) -> None:
    go(place, OFF)
    request = Request(str(place / "boxes.yaml"), None, place / "work", (OFF,), None)
    stream = io.StringIO()
    assert pipeline.run(request, Reporter(stream=stream)) == ExitCode.DONE
    assert stream.getvalue().count("up to date") == len(STAGES)
    elsewhere = Request(str(place / "boxes.yaml"), None, place / "other", (OFF,), None)
    with pytest.raises(MedsegError) as caught:
        pipeline.run(elsewhere, Reporter(stream=stream))
    assert caught.value.code == Code.PATH_MISSING


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("preprocess.spacing_px=[2, 2]", "a volume in mm; use spacing_mm"),
        ("preprocess.intensity=imagenet", "imagenet scaling of 1 channel"),
    ],
)
def test_what_is_for_images_is_refused_for_scans_in_one_line(place: Path, setting: str, told: str) -> None:
    with pytest.raises(MedsegError) as caught:
        go(place, OFF, setting)
    problem = caught.value.problems[0] if isinstance(caught.value, RecipeError) else caught.value
    assert told in str(problem)


def test_a_scans_best_weights_can_be_those_of_the_best_mean_iou(place: Path) -> None:
    go(place, OFF)
    assert "val/miou" not in files.read_csv(place / "work/train/0/history.csv")[0]
    go(place, OFF, "train.monitor=miou", overwrite=True)
    assert 0 <= float(files.read_csv(place / "work/train/0/history.csv")[0]["val/miou"]) <= 1
