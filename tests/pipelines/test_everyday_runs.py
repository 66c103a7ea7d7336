"""Folders named as people name them: `init`, `run --dry-run`, training, `segment` of the same folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.config import load
from medseg.errors import ExitCode
from tests.helpers.box_subjects import make_subjects
from tests.helpers.commands import run_command
from tests.helpers.dicom_subjects import as_dicom
from tests.helpers.everyday_folders import FOLDERS, Folder
from tests.helpers.known_sets import KNOWN
from tests.helpers.varied_folders import VARIED

SMALL = [
    *("train.epochs=1", "train.steps_per_epoch=2", "train.batch=2", "network.keywords.width=2"),
    *("tracking.enabled=false", "tracking.overlays=false", "predict.roles=[test]"),
]
QUICK = [word for setting in SMALL for word in ("--set", setting)]


def dicom_with_seg(root: Path) -> None:
    make_subjects(root.parent / "nifti", labelled=5, unlabelled=1)
    as_dicom(root.parent / "nifti", root, SeriesDescription="t1 sag")


ALL = {
    **FOLDERS,
    "a file of each structure": KNOWN["TotalSegmentator"],
    "nnU-Net raw in a folder": replace(
        FOLDERS["nnU-Net raw with regions"],
        build=lambda root: FOLDERS["nnU-Net raw with regions"].build(root / "nnUNet_raw/Dataset007_Brain"),
    ),
    "visits called T1 and T2": VARIED["visits called T1 and T2"],
    "DICOM series with SEG": Folder(
        dicom_with_seg, {"mr"}, 6, 5, 6, {0: "background", 1: "outer", 2: "inner"}
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_a_folder_is_planned_trained_on_and_segmented_as_its_owner_means_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, meant = tmp_path / "data", ALL[name]
    root.mkdir()
    meant.build(root)
    recipe, work = tmp_path / "made.yaml", tmp_path / "work"
    assert run_command(["init", root, "--out", recipe], capfd, monkeypatch).code == ExitCode.DONE
    assert "Read it once, then: medseg run" in recipe.read_text()

    before = sorted(tmp_path.rglob("*"))
    words = ["run", recipe, "--work", work, *QUICK, "--quiet"]
    planned = run_command([*words, "--dry-run", "--json"], capfd, monkeypatch)
    plan = json.loads(planned.text)
    assert planned.code == ExitCode.DONE and sorted(tmp_path.rglob("*")) == before
    require_as_meant(plan, recipe, meant)

    for stage in ("ingest", "preprocess", "train"):
        ended = run_command([stage, recipe, "--work", work, *QUICK, "--quiet"], capfd, monkeypatch)
        assert ended.code == ExitCode.DONE, ended.text
    out = tmp_path / "out"
    options = ["--model", work, "--accept-domain", "--no-figure", "--workers", "0"]
    ended = run_command(["segment", root, out, *options], capfd, monkeypatch)
    every = files.read_csv(out / "summary.csv")
    rows = [row for row in every if row["code"] != "NOT_A_SCAN"]  # the SEG objects beside the series
    assert ended.code == (ExitCode.DONE if rows == every else ExitCode.SOME_EXCLUDED), ended.text
    assert len(rows) == meant.cases and all(row["status"].startswith("done") for row in rows)


def require_as_meant(plan: dict[str, Any], recipe: Path, meant: Folder) -> None:
    """The plan has the owner's channels, labels, subjects and classes."""
    assert set(plan["channels"]) == meant.channels
    assert (plan["cases"], plan["labelled"], plan["subjects"]) == (
        meant.cases,
        meant.labelled,
        meant.subjects,
    )
    spelt = load.load(str(recipe)).data.classes
    assert {value: spec.name for value, spec in spelt.items()} == meant.classes
    if not load.load(str(recipe)).data.regions:
        assert plan["classes"] == {str(value): name for value, name in meant.classes.items()}
    roles = {role: part["cases"] for role, part in plan["folds"][0]["roles"].items()}
    assert sum(len(roles[role]) for role in ("train", "val", "test")) == meant.labelled
    assert len(roles["unlabelled"]) == meant.cases - meant.labelled
    assert all(seconds >= 0 for seconds in plan["seconds"].values()) and plan["megabytes"]["arrays"] > 0
