"""Ingest on folders with traps in their names: subjects on both sides, paths that lead elsewhere."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from medseg import files
from medseg.cli import app
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import run as pipeline
from pipelines.commands import init
from pipelines.run import Request

VISITS = tuple(f"p{i}_v{v}" for i in range(4) for v in range(2))


def save(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, np.eye(4)).to_filename(path)


def write_recipe(tmp_path: Path, **data: Any) -> Path:
    tree = {
        "name": "r",
        "data": {"path": str(tmp_path / "data"), "classes": {0: "background", 1: "x"}, **data},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "r.yaml"


def ingest(tmp_path: Path, recipe: Path, *settings: str, strict: bool = False) -> tuple[ExitCode, str]:
    stream = io.StringIO()
    request = Request(str(recipe), None, tmp_path / "w", ("tracking.enabled=false", *settings), strict=strict)
    return pipeline.run(request, Reporter(stream=stream), only="ingest"), stream.getvalue()


@pytest.fixture
def visits(tmp_path: Path, brain: Any) -> Path:
    """Four subjects with two visits each, in images/ and labels/."""
    for name in VISITS:
        save(tmp_path / f"data/images/{name}.nii.gz", brain)
        save(tmp_path / f"data/labels/{name}_seg.nii.gz", (brain > 100).astype(np.uint8))
    return tmp_path


SPLIT = "data.splits={train: [p0_v0, p1_v*, p2_v*], val: [p3_v*], test: [p0_v1]}"


def test_one_subject_on_both_sides_is_a_warning_each_time(visits: Path) -> None:
    recipe = write_recipe(visits)
    for _ in range(2):
        ended, said = ingest(visits, recipe, SPLIT)
        assert ended == ExitCode.DONE
        assert "warning: SUBJECT_ON_BOTH_SIDES: 1 pairs of cases" in said and "p0_v0 and p0_v1" in said
    assert "up to date" in said


def test_one_subject_on_both_sides_is_refused_if_strict(visits: Path) -> None:
    recipe = write_recipe(visits)
    ingest(visits, recipe, SPLIT)
    for _ in range(2):
        with pytest.raises(MedsegError) as caught:
            ingest(visits, recipe, SPLIT, strict=True)
        assert caught.value.code is Code.SUBJECT_ON_BOTH_SIDES
    together = "data.splits={train: [p0_v*, p1_v*], val: [p2_v*], test: [p3_v*]}"
    assert ingest(visits, recipe, together, strict=True)[0] == ExitCode.DONE


def test_subjects_that_the_recipe_reads_are_kept_together(visits: Path) -> None:
    recipe = write_recipe(visits, subject="{subject}_v*")
    ended, said = ingest(visits, recipe, strict=True)
    assert ended == ExitCode.DONE and "warning" not in said
    roles: dict[str, set[str]] = {}
    for row in files.read_csv(visits / "w/ingest/splits.csv"):
        assert row["subject"] == row["case"].partition("_")[0]
        roles.setdefault(row["subject"], set()).add(row["role"])
    assert all(len(words) == 1 for words in roles.values())
    with pytest.raises(MedsegError) as caught:
        ingest(visits, recipe, SPLIT)
    assert caught.value.code is Code.SUBJECT_ON_BOTH_SIDES


def test_init_reads_subjects_from_names(visits: Path) -> None:
    guess = init.run(visits / "data", visits / "made.yaml", force=False)
    assert guess.subject == "{subject}_v*" and any("p0_v0 and p0_v1" in remark for remark in guess.remarks)
    assert ingest(visits, visits / "made.yaml", strict=True)[0] == ExitCode.DONE
    rows = files.read_csv(visits / "w/ingest/splits.csv")
    assert {row["case"] for row in rows} == set(VISITS) and len({row["subject"] for row in rows}) == 4


def test_a_rule_for_subjects_that_cannot_work_is_refused_with_the_recipe(visits: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        ingest(visits, write_recipe(visits, subject="{case}_*"))
    (problem,) = getattr(caught.value, "problems", ())
    assert "data.subject" in problem.where and "{subject} once" in problem.how_to_fix


def test_names_of_a_table_write_nothing_outside_the_work_folder(tmp_path: Path, brain: Any) -> None:
    names = ["../../evil", "/tmp/medseg_evil", "a", "b", "c"]
    for i, _ in enumerate(names):
        save(tmp_path / f"data/{i}.nii.gz", brain)
        save(tmp_path / f"data/{i}_l.nii.gz", (brain > 100).astype(np.uint8))
    lines = [f"{name},{i}.nii.gz,{i}_l.nii.gz" for i, name in enumerate(names)]
    (tmp_path / "data/t.csv").write_text("\n".join(["case,image,label", *lines]))
    recipe = write_recipe(tmp_path, layout="csv", table="t.csv")
    before = {path for path in tmp_path.rglob("*") if "w" not in path.relative_to(tmp_path).parts}
    request = Request(str(recipe), None, tmp_path / "w", ("tracking.enabled=false",))
    for stage in ("ingest", "preprocess"):
        assert pipeline.run(request, Reporter(stream=io.StringIO()), only=stage) == ExitCode.SOME_EXCLUDED
    rows = files.read_csv(tmp_path / "w/ingest/quarantine.csv")
    assert {row["case"]: row["code"] for row in rows} == dict.fromkeys(names[:2], "NAME_INVALID")
    assert {path for path in tmp_path.rglob("*") if "w" not in path.relative_to(tmp_path).parts} == before
    assert {path.name for path in (tmp_path / "w/prepared").iterdir() if path.is_dir()} <= {"a", "b", "c"}


def test_strict_is_an_option_of_the_commands(visits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(visits)
    recipe = str(write_recipe(visits))
    words = [recipe, "--set", SPLIT, "--set", "tracking.enabled=false", "--quiet"]
    assert CliRunner().invoke(app, ["ingest", *words]).exit_code == 0
    for command in ("ingest", "run"):
        ended = CliRunner().invoke(app, [command, *words, "--strict"])
        assert isinstance(ended.exception, MedsegError)
        assert ended.exception.code is Code.SUBJECT_ON_BOTH_SIDES
