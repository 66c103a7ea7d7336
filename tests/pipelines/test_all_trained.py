"""`--set data.split=all`: every labelled case is trained on, and the report claims no score."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from medseg import files
from medseg.config import load
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import report_facts
from pipelines import run as pipeline
from pipelines.run import Request
from tests.helpers.box_runs import recipe_tree
from tests.helpers.box_subjects import make_subjects


def test_every_labelled_case_is_trained_on_and_nothing_is_scored(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=4, unlabelled=1)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(recipe_tree()))
    settings = ("data.split=all", "report.viewers=false")
    request = Request(str(tmp_path / "boxes.yaml"), tmp_path / "data", tmp_path / "work", settings)
    stream = io.StringIO()
    assert pipeline.run(request, Reporter(stream=stream, results=stream)) == ExitCode.DONE
    assert "every labelled case is trained on" in stream.getvalue()
    rows = files.read_csv(tmp_path / "work/ingest/splits.csv")
    assert [row["role"] for row in rows] == ["train"] * 4 + ["unlabelled"]
    assert files.read_csv(tmp_path / "work/evaluation/scores.csv") == []
    page = (tmp_path / "work/report/report.html").read_text()
    assert report_facts.ALL_TRAINED in page and "mean Dice, " not in page
    assert load.load(str(tmp_path / "work/recipe.yaml")).data.splits == "all"
    with pytest.raises(MedsegError) as refused:
        pipeline.chosen_folds(load.load(str(tmp_path / "work/recipe.yaml")), "1")
    assert refused.value.code == Code.USAGE


def test_another_word_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(RecipeError) as refused:
        load.load("ibsr18_quick", ["data.split=every"])
    assert "'listed' or 'all'" in str(refused.value.problems[0])
