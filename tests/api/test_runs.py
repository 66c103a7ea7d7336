"""`medseg.run`: the command's stages, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import medseg
from medseg.errors import Code
from tests.api.test_refusals import refusal
from tests.helpers.box_runs import recipe_tree
from tests.helpers.box_subjects import make_subjects


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", 5)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(recipe_tree()))
    return tmp_path / "boxes.yaml"


def test_a_run_gives_scores_and_paths(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    run = medseg.run(recipe, data, work, set=["train.steps_per_epoch=1"], quiet=True)
    assert capsys.readouterr().out == ""
    assert (run.work, run.complete, run.excluded) == (work, True, [])
    assert {(row["case"], row["class_name"]) for row in run.scores} == {
        (case, name) for case in ("s3", "s4") for name in ("outer", "inner")
    }
    by_class = run.summary["sets"]["test"]["classes"]
    dice = [row["dice"] for row in run.scores if row["class_name"] == "inner"]
    assert by_class["inner"]["dice"]["mean"] == pytest.approx(sum(dice) / 2)
    assert run.report.is_file()
    result = medseg.segment(data / "s3/s3.nii.gz", medseg.load_model(run.model, "cpu"))
    scores = medseg.evaluate(data / "s3/s3_seg.nii.gz", result)
    (row,) = [row for row in run.scores if (row["case"], row["class_name"]) == ("s3", "inner")]
    assert scores["inner"] == {metric: row[metric] for metric in scores["inner"]}
    assert (run.predictions / "s3.nii.gz").is_file()
    assert "steps_per_epoch: 1" in (work / "recipe.yaml").read_text()


def test_wrong_arguments_are_named(recipe: Path, tmp_path: Path) -> None:
    run: Any = medseg.run
    data, work = tmp_path / "data", tmp_path / "work"
    (tmp_path / "file").write_text("")
    cases: list[tuple[Any, Code, str]] = [
        (lambda: run("no_such_recipe"), Code.PATH_MISSING, "recipe"),
        (lambda: run(3), Code.USAGE, "recipe"),
        (lambda: run(recipe, tmp_path / "nowhere", work), Code.PATH_MISSING, "data"),
        (lambda: run(recipe, None, work), Code.PATH_MISSING, "data"),
        (lambda: run(recipe, data, work, "train.epochs=1"), Code.USAGE, "set"),
        (lambda: run(recipe, data, work, ["epochs"]), Code.RECIPE_INVALID, "set"),
        (lambda: run(recipe, data, work, fold=7), Code.USAGE, "fold"),
        (lambda: run(recipe, data, work, start="middle"), Code.USAGE, "start"),
        (lambda: run(recipe, data, tmp_path / "file"), Code.USAGE, "work"),
    ]
    for call, code, argument in cases:
        assert refusal(call)[:2] == (code, argument)
    assert not work.exists()


def test_all_problems_of_a_recipe_are_said(recipe: Path, tmp_path: Path) -> None:
    settings = ["train.epochs=many", "train.no_such_key=1"]
    with pytest.raises(medseg.MedsegError) as caught:
        medseg.run(recipe, tmp_path / "data", tmp_path / "work", settings)
    assert caught.value.code is Code.RECIPE_INVALID
    assert "train.epochs" in caught.value.finding.details
    assert "train.no_such_key" in caught.value.finding.details
    assert len(caught.value.__notes__) == 2
