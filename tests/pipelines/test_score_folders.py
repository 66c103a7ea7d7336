"""`medseg evaluate --truth A --pred B`: each label map of either folder is scored, or named with its code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import score_folders
from tests.helpers.scan_files import save


def box(value: int = 1) -> Any:
    """A label map of 12 × 12 × 6 voxels with a box of 4 × 4 × 2."""
    label = np.zeros((12, 12, 6), np.uint8)
    label[4:8, 4:8, 2:4] = value
    return label


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases: `a` is predicted as it is, `b` moved by two voxels, so that half of both boxes overlap."""
    truth, prediction = tmp_path / "truth", tmp_path / "pred"
    for name in "ab":
        save(truth / f"{name}_seg.nii.gz", box())
    save(prediction / "a.nii.gz", box())
    save(prediction / "b.nii.gz", np.roll(box(), 2, axis=0))
    return truth, prediction


def score(folders: tuple[Path, Path]) -> tuple[ExitCode, str, list[dict[str, str]]]:
    """Exit code, what was said, and the rows of quarantine.csv."""
    truth, prediction = folders
    stream = io.StringIO()
    ended = score_folders.run(
        truth, prediction, prediction / "evaluation", Reporter(stream=stream, results=stream)
    )
    return ended, stream.getvalue(), files.read_csv(prediction / "evaluation/quarantine.csv")


def dice(folders: tuple[Path, Path]) -> dict[str, str]:
    return {r["case"]: r["dice"] for r in files.read_csv(folders[1] / "evaluation/scores.csv")}


def test_both_folders_are_matched_and_scored(folders: tuple[Path, Path]) -> None:
    ended, said, excluded = score(folders)
    assert (ended, excluded) == (ExitCode.DONE, [])
    assert dice(folders) == {"a": "1.0", "b": "0.5"}
    assert "Dice 0.7500" in said
    assert score(folders)[0] == ExitCode.DONE  # the scores in the folder of predictions are no label maps


def test_a_prediction_without_a_truth_is_named(folders: tuple[Path, Path]) -> None:
    save(folders[1] / "c.nii.gz", box())
    ended, said, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("c", "REFERENCE_MISSING")]
    assert any("REFERENCE_MISSING" in line and "c.nii.gz" in line for line in said.splitlines())
    assert dice(folders).keys() == {"a", "b"}


def test_a_missing_and_an_unusable_prediction_count_zero(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a.nii.gz").unlink()
    save(folders[1] / "b.nii.gz", box()[:-1])
    ended, _, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("b", "GRID_MISMATCH")]
    assert dice(folders) == {"a": "0.0", "b": "0.0"}


def test_a_missing_prediction_alone_is_told_by_the_exit_code(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a.nii.gz").unlink()
    ended, said, excluded = score(folders)
    assert (ended, excluded) == (ExitCode.SOME_EXCLUDED, [])
    assert "2 cases, 1 without prediction" in said
    assert dice(folders) == {"a": "0.0", "b": "0.5"}


def test_a_truth_that_cannot_be_read_is_set_aside(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "a_seg.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    ended, _, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("a", "TRUNCATED")]
    assert dice(folders).keys() == {"b"}


def test_classes_are_named_by_labels_json(folders: tuple[Path, Path]) -> None:
    rows = [{"value": v, "name": n, "colour": [v, v, v]} for v, n in ((0, "background"), (1, "lesion"))]
    files.write_json(folders[1] / "labels.json", rows)
    assert "lesion" in score(folders)[1]


@pytest.mark.parametrize("text", ["", "[1]", '[{"a": 1}]', "{}"])
def test_a_damaged_labels_json_is_refused(folders: tuple[Path, Path], text: str) -> None:
    (folders[1] / "labels.json").write_text(text)
    with pytest.raises(MedsegError) as caught:
        score(folders)
    assert caught.value.code == Code.USAGE
    assert "labels.json" in caught.value.finding.where


@pytest.mark.parametrize("made", ["empty", "unreadable"])
def test_nothing_usable_ends_with_its_code(tmp_path: Path, made: str) -> None:
    (tmp_path / "pred").mkdir()
    if made == "empty":
        save(tmp_path / "truth/a.nii.gz", box(0))
    else:
        save(tmp_path / "truth/a.nii.gz", box(3))
        files.write_json(
            tmp_path / "truth/labels.json",
            [{"value": v, "name": str(v), "colour": [0, 0, 0]} for v in (0, 1)],
        )
    with pytest.raises(MedsegError) as caught:
        score((tmp_path / "truth", tmp_path / "pred"))
    assert caught.value.code == Code.NOTHING_USABLE
