"""`medseg compare` and `medseg evaluate`: what is printed off a terminal, and which choices are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli import exits, scores  # noqa: F401 - scores adds both commands to the app
from medseg.cli.app import app
from medseg.errors import Code, MedsegError
from medseg.metrics import table
from medseg.metrics.table import ScoreRow

LONG = "a_class_whose_name_is_longer_than_any_column_of_a_narrow_terminal_would_be"


def row(case: str, dice: float) -> ScoreRow:
    numbers = dict.fromkeys(("iou", "precision", "recall", "hd95", "assd", "nsd", "size_error_percent"))
    sizes = {"size": 1.0, "reference_size": 1.0, "size_unit": "ml", "length_unit": "mm"}
    return ScoreRow(0, case, case, "test", LONG, dice, **numbers, **sizes)  # type: ignore[arg-type]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    for name, dice in (("first_of_both", 0.5), ("second_of_both", 0.75)):
        rows = [row("a", dice), row("b", dice)]
        table.write(tmp_path / name / "evaluation" / "scores.csv", rows)
    return [str(tmp_path / "first_of_both"), str(tmp_path / "second_of_both")]


def refusal(*arguments: str) -> MedsegError:
    """What a command that is refused raises."""
    found = CliRunner().invoke(app, list(arguments)).exception
    assert isinstance(found, MedsegError), found
    return found


def test_off_a_terminal_the_tables_are_whole(folders: list[str]) -> None:
    done = CliRunner().invoke(app, ["compare", *folders])
    assert done.exit_code == 0, done.exception
    (line,) = [text for text in done.stdout.splitlines() if LONG in text]
    for cell in ("second_of_both", "dice", "0.5000", "0.7500", "+0.2500", "fewer than five subjects", "2"):
        assert cell in line
    assert "…" not in done.stdout


def test_the_comparison_is_json_for_programs(folders: list[str]) -> None:
    done = CliRunner().invoke(app, ["compare", *folders, "--json", "--metric", "dice"])
    tree = json.loads(done.stdout)
    (difference,) = [d for d in tree["differences"] if d["class_name"] == LONG]
    assert (difference["difference"], difference["pairs"], difference["ci95"]) == (0.25, 2, None)
    assert {d["metric"] for d in tree["differences"]} == {"dice"} and len(tree["costs"]) == 2


@pytest.mark.parametrize(("role", "words"), [("zzz", "one of test, val, train"), ("val", "another --role")])
def test_a_role_that_nothing_has_is_refused(folders: list[str], role: str, words: str) -> None:
    error = refusal("compare", *folders, "--role", role)
    assert error.code == Code.USAGE
    assert words in error.finding.how_to_fix


def test_an_unknown_metric_is_refused(folders: list[str]) -> None:
    assert "hd95" in refusal("compare", *folders, "--metric", "zzz").finding.how_to_fix


def test_evaluate_is_a_stage_like_the_others(tmp_path: Path) -> None:
    error = refusal("evaluate", "demo", "--work", str(tmp_path / "w"), "--fold", "7")
    assert (error.code, error.finding.where) == (Code.USAGE, "--fold")
    error = refusal("evaluate", "demo", "--work", str(tmp_path / "w"), "--fold", "all")
    assert error.code == Code.STAGE_MISSING
    assert exits.log_file == [tmp_path / "w" / "medseg.log"]
    exits.log_file.clear()
    assert not (tmp_path / "w").exists()


def test_evaluate_takes_a_recipe_or_two_folders(tmp_path: Path) -> None:
    assert refusal("evaluate").code == Code.USAGE
    assert refusal("evaluate", "demo", "--truth", str(tmp_path)).code == Code.USAGE
