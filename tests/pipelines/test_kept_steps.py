"""`train.keep_at`: weights of chosen steps are kept, scored, and shown; nothing else changes by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg import files
from medseg.errors import Code, ExitCode, MedsegError
from medseg.metrics import table
from medseg.train.state import BEST, kept_name, read_network
from pipelines.fold import kept_steps
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go
from tests.helpers.box_subjects import make_subjects

STEADY = {**TRAIN, "steps_per_epoch": 2, "schedule": "constant", "precision": "fp32"}
LONG = {"train": {**STEADY, "epochs": 2, "keep_at": [2, 3]}}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The work folder of four steps of which the second and third are kept, and what the run said."""
    root = tmp_path_factory.mktemp("kept")
    make_subjects(root / "data", 5)
    code, said = go(root / "data", root / "long", parts=LONG)
    assert code == ExitCode.DONE
    return root, said


def test_the_weights_of_a_step_are_those_of_a_training_that_ends_there(kept: tuple[Path, str]) -> None:
    root, _ = kept
    go(root / "data", root / "short", parts={"train": {**STEADY, "epochs": 1}})
    of_step = read_network(root / "long/train/0" / kept_name(2))
    at_end = read_network(root / "short/train/0" / BEST)
    assert of_step.keys() == at_end.keys()
    assert all(tensor.equal(at_end[name]) for name, tensor in of_step.items())
    scores = kept_steps.read_scores(Work(root / "long"))
    short = files.read_json(root / "short/evaluation/summary.json")
    assert scores[2]["sets"]["test"] == short["sets"]["test"]


def test_each_step_has_a_model_folder_scores_and_a_row_in_the_report(kept: tuple[Path, str]) -> None:
    root, _ = kept
    work = Work(root / "long")
    assert list(kept_steps.read_scores(work)) == [2, 3]
    model = files.read_json(work.kept_step(3).model / "model.json")
    assert model["description"]["trained"]["fold0"]["steps"] == 3
    page = (work.report / "report.html").read_text()
    assert "At chosen iterations" in page and "negative rate" in page
    best = {row.case for row in table.read(work.evaluation / "scores.csv")}
    assert best == {"s3", "s4"}  # the best weights' scores stand alone in scores.csv


def test_a_second_run_does_nothing_and_a_changed_list_is_another_training(kept: tuple[Path, str]) -> None:
    root, _ = kept
    code, said = go(root / "data", root / "long", parts=LONG)
    assert code == ExitCode.DONE and "evaluate: up to date" in said
    with pytest.raises(MedsegError, match="keep_at") as refused:
        go(root / "data", root / "long", "train.keep_at=[1]", parts=LONG)
    assert refused.value.code == Code.SETTINGS_CHANGED


def test_a_step_that_never_comes_is_refused(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", 5)
    with pytest.raises(MedsegError, match="4 steps, and weights are to be kept at step 9"):
        go(tmp_path / "data", tmp_path / "work", "train.keep_at=[9]", parts=LONG)
