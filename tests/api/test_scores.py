"""`medseg.evaluate`: the metrics of `medseg evaluate`, from label maps in any form."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg.console import Reporter
from medseg.errors import Code
from medseg.metrics import table
from pipelines.commands import score_folders
from tests.api.test_refusals import refusal
from tests.helpers.scan_files import STEP, save

NAMES = {0: "background", 1: "outer", 2: "inner"}


@pytest.fixture
def truth() -> Any:
    label = np.zeros((20, 24, 8), np.uint8)
    label[3:17, 4:20, 1:7] = 1
    label[7:13, 8:16, 2:5] = 2
    return label


@pytest.fixture
def guess(truth: Any) -> Any:
    return np.roll(truth, 1, axis=0)


def test_scores_are_the_commands_whatever_the_form(tmp_path: Path, truth: Any, guess: Any) -> None:
    paths = [save(tmp_path / f"{name}/a.nii.gz", array) for name, array in (("t", truth), ("p", guess))]
    say = Reporter(stream=io.StringIO(), results=io.StringIO())
    score_folders.run(tmp_path / "t", tmp_path / "p", tmp_path / "o", say)
    rows = {row.class_name: row for row in table.read(tmp_path / "o/scores.csv")}
    images = [nib.Nifti1Image(array, STEP) for array in (truth, guess)]
    for pair, affine in ((paths, None), (map(str, paths), None), (images, None), ((truth, guess), STEP)):
        scores = medseg.evaluate(*pair, affine=affine)
        assert list(scores) == ["label 1", "label 2"] == list(rows)
        for name, values in scores.items():
            assert values == {metric: getattr(rows[name], metric) for metric in values}
    assert medseg.evaluate(paths[0], guess) == medseg.evaluate(truth, images[1], affine=STEP)
    assert medseg.evaluate(paths[0], guess) == scores


def test_scores_by_hand(truth: Any) -> None:
    guess = np.where(truth == 2, 1, truth)
    scores = medseg.evaluate(truth, guess, NAMES, affine=STEP)
    outer, inner = np.count_nonzero(truth == 1), np.count_nonzero(truth == 2)
    assert scores["outer"]["dice"] == pytest.approx(2 * outer / (2 * outer + inner))
    assert scores["inner"]["dice"] == 0
    assert scores["inner"]["hd95"] is None
    assert scores["inner"]["hd95_penalised"] == pytest.approx(np.linalg.norm([20, 24, 16]))
    assert scores["inner"]["reference_size"] == pytest.approx(inner * 2 / 1000)
    ignored = medseg.evaluate(np.where(truth == 2, 255, truth), guess, affine=STEP, void=[255])
    assert ignored["label 1"]["dice"] == 1


def test_a_segmentation_brings_its_class_list(brain: Any, truth: Any, model: medseg.Model) -> None:
    result = medseg.segment(brain, model, affine=STEP)
    scores = medseg.evaluate(truth, result, affine=STEP)
    assert list(scores) == ["csf", "gm"]
    assert scores == medseg.evaluate(truth, np.asarray(result.labels.dataobj), result.classes, affine=STEP)
    assert scores["gm"]["size"] == pytest.approx(result.volumes_ml["gm"])


def test_class_lists_have_names(tmp_path: Path, truth: Any) -> None:
    (tmp_path / "classes.yaml").write_text("classes: {0: background, 1: outer, 2: inner}\n")
    scores = medseg.evaluate(truth, truth, tmp_path / "classes.yaml", affine=STEP)
    assert {name: values["dice"] for name, values in scores.items()} == {"outer": 1, "inner": 1}


def test_wrong_arguments_are_named(tmp_path: Path, truth: Any, guess: Any) -> None:
    path = save(tmp_path / "a.nii.gz", truth)
    score: Any = medseg.evaluate
    twisted = nib.Nifti1Image(guess, np.diag([1.0, 1.0, 3.0, 1.0]))
    cases: list[tuple[Any, Code, str]] = [
        (lambda: score(tmp_path, path), Code.USAGE, "truth"),
        (lambda: score("no.nii.gz", path), Code.FILE_MISSING, "truth"),
        (lambda: score(path, "no.nii.gz"), Code.FILE_MISSING, "prediction"),
        (lambda: score(truth, guess), Code.USAGE, "affine"),
        (lambda: score(path, path, affine=STEP), Code.USAGE, "affine"),
        (lambda: score(path, None), Code.USAGE, "prediction"),
        (lambda: score(path, twisted), Code.GRID_MISMATCH, "prediction"),
        (lambda: score(path, guess + 5), Code.LABEL_VALUE_UNKNOWN, "prediction"),
        (lambda: score(path, guess * 0.5), Code.LABEL_NOT_INTEGER, "prediction"),
        (lambda: score(truth * 0.5, guess, affine=STEP), Code.LABEL_NOT_INTEGER, "truth"),
        (lambda: score(truth * 0, guess, affine=STEP), Code.NOTHING_USABLE, "truth"),
        (lambda: score(path, guess, {0: "background", 1: "outer"}), Code.LABEL_VALUE_UNKNOWN, "truth"),
        (lambda: score(path, guess, {1: "a", 2: "b"}), Code.USAGE, "classes"),
        (lambda: score(path, guess, "no such list"), Code.PATH_MISSING, "classes"),
        (lambda: score(path, guess, void=[2], classes=NAMES), Code.USAGE, "void"),
    ]
    for call, code, argument in cases:
        assert refusal(call)[:2] == (code, argument)
