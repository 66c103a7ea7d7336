"""`make results`: its rows, the page from their JSON, and a row that is made, stopped and made again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import make_results, result_repeat, result_rows, results_page
from benchmarks.result_rows import ROWS, Row
from medseg import device, files
from medseg.config import load
from medseg.config.training import Train
from medseg.errors import Code, MedsegError
from pipelines.fold import speed
from pipelines.workfolder import Work
from tests.helpers.box_runs import recipe_tree
from tests.helpers.box_subjects import make_subjects
from tests.helpers.commands import run_command


def test_the_page_says_what_the_json_files_say() -> None:
    written = results_page.PAGE.read_text(encoding="utf-8")
    assert written == results_page.render(results_page.read_all()), "run `make results` or its --page"


def test_rows_have_names_of_their_own_and_recipes_that_load() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        if row.kind != "script":
            recipe = load.load(row.recipe, row.sets(seed=3), Path(row.data))
            assert recipe.train.seed == 3
            assert recipe.data.n_folds() == max(1, len(row.folds))
            assert recipe.train.device == ("cuda" if row.device == "cuda" else recipe.train.device)
    assert any(row.name == result_rows.COMPARED_WITH for row in ROWS)
    assert {row.needs for row in ROWS} - {""} <= {row.name for row in ROWS}


def test_five_folds_test_each_of_the_ten_scans_once_and_share_nothing() -> None:
    folds = result_rows.five_folds()
    tested = [case for fold in folds for case in fold["test"]]
    assert len(folds) == 5 and len(tested) == len(set(tested)) == 10
    for fold in folds:
        assert {len(fold["train"]), len(fold["val"]), len(fold["test"])} == {6, 2}
        assert set(fold["train"]) | set(fold["val"]) | set(fold["test"]) == set(tested)
    assert folds[4]["test"] == ["IBSR_06", "IBSR_18"] and folds[4]["val"] == ["IBSR_01", "IBSR_07"]


def test_the_length_of_a_training_is_planned_where_recipes_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = dict(Train.model_fields)
    monkeypatch.setattr(result_rows.Train, "__pydantic_fields__", {**fields, "minutes": fields["epochs"]})
    planned = result_rows.length(60)
    assert planned[0] == "train.minutes=60" and "train.epochs=null" in planned
    assert result_rows.length(0) == []
    fields.pop("minutes", None)
    monkeypatch.setattr(result_rows.Train, "__pydantic_fields__", fields)
    assert result_rows.length(60) == []


def statistics(mean: float, ci95: Any = None) -> dict[str, Any]:
    return {"mean": mean, "ci95": ci95, "n": 10, "n_undefined": 0}


def done(row: str, dice: dict[str, float], seed: int = 0) -> dict[str, Any]:
    """The JSON of a row with one class, whose Dice by case is given."""
    mean = sum(dice.values()) / len(dice)
    metrics = {
        "dice": statistics(mean, [mean - 0.01, mean + 0.01]),
        "nsd": statistics(0.9),
        "hd95": statistics(2.0),
    }
    cases = [{"case": c, "subject": c, "class": "gm", "fold": 0, "dice": d} for c, d in dice.items()]
    return {
        **{"row": row, "commit": "c" * 40, "changed_since_commit": False, "medseg": "0.1.0", "torch": "2"},
        **{"seed": seed, "minutes": {"training": {"0": 12.0, "1": 12.5}, "other_stages": 3.0}},
        "hardware": {"device": "a CPU", "cores": 2, "threads": 2},
        "recipe": {"name": "r", "commit": "d" * 40, "settings": ["train.minutes=12", "train.epochs=null"]},
        "data": {"folds": [{"train": ["a"], "val": ["b"], "test": ["c"]}]},
        "scores": {"cases": len(dice), "classes": {"gm": metrics}, "mean": metrics},
        "by_case": cases,
    }


def test_the_page_holds_scores_intervals_facts_and_paired_differences() -> None:
    cases = [f"c{n}" for n in range(6)]
    ours = {case: 0.90 + 0.002 * n for n, case in enumerate(cases)}
    theirs = {case: value - 0.02 for case, value in ours.items()}
    text = results_page.render(
        {"paper_usegnet": {0: done("paper_usegnet", ours)}, "paper_unet": {0: done("paper_unet", theirs)}}
    )
    assert "0.905 [0.895, 0.915]" in text and "12 to 12.5" in text and "code of commit cccccccccccc" in text
    assert "`train.minutes=12`" in text and "train.epochs" not in text
    assert "| U-Net: a skip at every level | +0.0200 [+0.0200, +0.0200] | 6 |" in text
    assert "| SegNet: pooling indices, no skip | not run |  |" in text
    assert text.count("`make results ROW=hippocampus_60min`") == 1  # not run: its command alone


def test_images_have_the_scores_that_their_papers_print_too() -> None:
    row = done("camvid_60min", {"a": 0.4})
    row["scores"]["of_images"] = {"G": 0.8, "mIoU": 0.45}
    text = results_page.render({"camvid_60min": {0: row}})
    assert "Over all pixels: G 0.800, mIoU 0.450." in text and "HD95 (px)" in text
    assert "| over all pixels | what differs |" in text and "G 0.827, C 0.620, mIoU 0.477, BF 0.358" in text


def test_another_seed_stands_beside_the_first() -> None:
    by_seed = {seed: done("ibsr18_60min", {"a": 0.9 + 0.01 * seed}, seed) for seed in (0, 1)}
    text = results_page.render({"ibsr18_60min": by_seed})
    assert "Mean Dice by seed: 0.9000, 0.9100." in text and "SEED=1" in text


def test_the_two_measured_kinds_of_json_are_shown() -> None:
    box = {"mean": {"as it is": {"csf": 0.8, "mean": 0.85}, "noise": {"csf": 0.7, "mean": 0.75}}}
    quality = {
        **{"threshold": 0.8, "failed": 5, "failed_flagged": 5, "good_clean": 30, "good_clean_flagged": 1},
        "correlation_on_the_ladder": 0.95,
        "calibration_error": {
            "all": {"before": 0.1, "after": 0.02},
            "clean": {"before": 0.02, "after": 0.01},
        },
        "by_corruption": [
            {"corruption": "none", "label_maps": 30, "dice": 0.86, "predicted_dice": 0.85, "flagged": 1}
        ],
    }
    text = results_page.render({"out_of_box": {0: box}, "quality_hippocampus": {0: quality}})
    assert "| noise | 0.700 | 0.750 |" in text and "flagged: 5 of 5 label maps below Dice 0.7" in text
    assert "0.1 of the confidence, 0.02 of the predicted Dice" in text
    assert "| none | 30 | 0.860 | 0.850 | 1 |" in text


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Row:
    """A row of two folds on tiny subjects; commands run in this process, results are written aside."""
    make_subjects(tmp_path / "data" / "boxes", 5)
    recipe = tmp_path / "boxes.yaml"
    recipe.write_text(yaml.safe_dump(recipe_tree(report={"viewers": 0})))

    def here(words: list[str]) -> None:
        if (ended := run_command(list(words), capfd, monkeypatch)).code:
            raise SystemExit(ended.text)

    monkeypatch.setattr(make_results, "_medseg", here)
    monkeypatch.setattr(make_results, "RESULTS", tmp_path / "results")
    folds = tuple(recipe_tree()["data"]["splits"])
    return Row("boxes", "two folds", "Brain tissue", "boxes", str(recipe), folds=folds)


def test_a_row_is_made_and_a_stopped_one_keeps_its_folds(tmp_path: Path, bench: Row) -> None:
    make_results.make(bench, tmp_path / "data", tmp_path / "work", 0)
    path = tmp_path / "results" / "boxes.json"
    first = files.read_json(path)
    assert first["scores"]["cases"] == 4 and first["scores"]["classes"].keys() == {"outer", "inner"}
    assert [fold["test"] for fold in first["data"]["folds"]] == [["s3", "s4"], ["s0", "s1"]]
    assert first["minutes"]["training"].keys() == {"0", "1"} and len(first["by_case"]) == 8
    assert make_results.is_there(bench, tmp_path / "data", 0)
    assert not make_results.is_there(replace(bench, settings=("train.lr=0.5",)), tmp_path / "data", 0)
    # As a kill leaves it: one fold is trained, nothing is predicted.
    work = tmp_path / "work" / "boxes"
    kept = (work / "train/0/done.json").stat().st_mtime_ns
    for part in ("train/1", "model", "predictions", "evaluation"):
        shutil.rmtree(work / part)
    make_results.make(bench, tmp_path / "data", tmp_path / "work", 0)
    assert (work / "train/0/done.json").stat().st_mtime_ns == kept
    again = files.read_json(path)
    for same in ("scores", "by_case", "data", "key"):
        assert again[same] == first[same]


def test_a_row_is_repeated_with_the_recorded_length_and_compared(
    tmp_path: Path, bench: Row, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    seconds = [0.5]
    monkeypatch.setattr(speed, "seconds_of_step", lambda _: seconds[0])
    monkeypatch.setattr(speed, "seconds_of_pixel", lambda *_: 1e-6)
    row, data, work = replace(bench, minutes=0.1), tmp_path / "data", tmp_path / "work"
    monkeypatch.setattr(make_results, "ROWS", (row,))
    words = ["x", *map(str, (data, "--row", row.name, "--work", work, "--repeat"))]
    with pytest.raises(MedsegError, match="was not made yet"):
        make_results.repeat(row, data, work, 0)
    make_results.make(row, data, work, 0)
    path = tmp_path / "results" / "boxes.json"
    first, written = files.read_json(path), path.read_bytes()
    assert first["train_length"]["seconds_of_step"] == 0.5
    seconds[0] = 0.05  # the speed of another day
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        make_results.main()
    assert ended.value.code == 0 and path.read_bytes() == written
    assert (work / "repeated/boxes/train_length.json").read_bytes() == (
        work / "boxes/train_length.json"
    ).read_bytes()
    with pytest.raises(MedsegError, match="other settings"):
        make_results.repeat(replace(row, minutes=0.2), data, work, 0)
    other = {**first, "by_case": [{**first["by_case"][0], "dice": 2.0}, *first["by_case"][1:]]}
    files.write_json(path, other)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        make_results.main()
    assert ended.value.code == 1 and "by_case[0].dice: 2.0, now" in capfd.readouterr().out


def test_what_cannot_be_repeated_is_refused(tmp_path: Path) -> None:
    work, path = Work(tmp_path / "work"), tmp_path / "row.json"
    trained = {"recipe": {"settings": ["train.minutes=60"]}, "hardware": {"threads": device.threads()}}
    with pytest.raises(MedsegError, match="keeps no plan"):
        result_repeat.prepare(trained, work, path)
    with pytest.raises(MedsegError, match="OMP_NUM_THREADS=99"):
        result_repeat.prepare({"hardware": {"threads": 99}}, work, path)
    result_repeat.prepare({"recipe": {"settings": []}}, work, path)
    assert not work.root.exists()
    result_repeat.prepare({**trained, "train_length": {"minutes": 60}}, work, path)
    assert files.read_json(work.train_length) == {"minutes": 60}


def test_differences_are_named_and_times_are_not() -> None:
    before = {"commit": "a", "minutes": {"training": 1}, "scores": {"n": [1, 2], "seconds": 3, "dice": 0.5}}
    assert list(result_repeat.differences(before, {**before, "commit": "b", "minutes": 9})) == []
    after = {**before, "scores": {"n": [1], "seconds": 4}}
    said = list(result_repeat.differences(before, after))
    assert said == ["scores.dice: 0.5, now None", "scores.n: [1, 2], now [1]"]


def test_a_row_with_a_subject_on_both_sides_is_refused_before_training(tmp_path: Path, bench: Row) -> None:
    same = (tmp_path / "data/boxes/s0/s0.nii.gz").read_bytes()
    (tmp_path / "data/boxes/s3/s3.nii.gz").write_bytes(same)
    with pytest.raises(MedsegError) as caught:
        make_results.make(bench, tmp_path / "data", tmp_path / "work", 0)
    assert caught.value.code is Code.SUBJECT_ON_BOTH_SIDES and "s3 is the same file as s0" in str(
        caught.value
    )
    assert not (tmp_path / "work/boxes/train").exists() and not (tmp_path / "results").exists()


def test_rows_for_a_gpu_and_scripts_that_are_not_there_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_results.device, "at_hand", lambda: ["cpu"])
    by_name = {row.name: row for row in ROWS}
    assert make_results.why_not(by_name["ibsr18_gpu"]) == "needs cuda"
    assert make_results.why_not(by_name["ibsr18_60min"]) is None
    absent = replace(by_name["out_of_box"], script="-m benchmarks.nowhere DATA")
    assert make_results.why_not(absent) == "needs benchmarks/nowhere.py"


def test_every_json_names_its_row_and_its_commit() -> None:
    for by_seed in results_page.read_all().values():
        for content in by_seed.values():
            assert len(content["commit"]) == 40 and json.dumps(content)
