"""Cells that touch, from files with a number for each to scores of objects, by a packaged recipe."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medseg import files
from medseg.config import load
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import Code, ExitCode
from medseg.infer.objects import split
from medseg.io import images
from medseg.metrics import objects
from medseg.model.description import InstanceSettings
from medseg.preprocess import store
from pipelines import run as pipeline
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from pipelines.run import Request
from tests.helpers.recipe_samples import RECIPES, cells

CASES = ["02__000", "02__001"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run; the tests only look, or write beside it."""
    path, sample = tmp_path_factory.mktemp("cells"), RECIPES["ctc_phc_u373"]
    sample.build(path / "data")
    settings = (*sample.settings, "predict.instances.min_size_px=2")
    request = Request("ctc_phc_u373", path / "data", path / "work", settings)
    say = Reporter(stream=(said := io.StringIO()), results=said)
    assert pipeline.run(request, say) == ExitCode.DONE
    (path / "said.txt").write_text(said.getvalue())
    yield path


def test_training_sees_background_between_cells_and_its_weight(place: Path) -> None:
    case = store.open(place / "work/prepared/01__000")
    numbers, label = case.extras["instances"][..., 0], np.asarray(case.label)[..., 0]
    assert numbers.dtype == np.uint8 and numbers.max() == 5
    assert (numbers == cells(5)).all()  # 7, 14, … in the file
    assert numbers[6, 8:12].tolist() == [1, 1, 2, 2] and label[6, 8:12].tolist() == [1, 0, 0, 1]
    weights = case.extras["weight_map"][6, 8:12, 0]
    # Between the cells 1 px and 2 px away: 10·exp(−9/50); on the cells nothing
    assert weights.tolist() == pytest.approx([0, 8.3527, 8.3527, 0], rel=1e-3)


def test_maps_of_objects_lie_beside_label_maps_and_are_scored(place: Path) -> None:
    predictions = place / "work/predictions"
    rows = {row["case"]: row for row in files.read_csv(place / "work/evaluation/objects.csv")}
    assert sorted(rows) == CASES
    for case, count in zip(CASES, (5, 6), strict=True):
        label = images.read_values(predictions / f"{case}.png").array[0]
        found = tifffile.imread(predictions / f"{case}_instances.tif")
        expected = split(label == 1, InstanceSettings(min_size_px=2))
        np.testing.assert_array_equal(found, expected[..., 0])
        about = json.loads((predictions / f"{case}.json").read_text())
        assert about["objects"] == found.max()
        scored = objects.count(cells(count), found)
        assert int(rows[case]["objects"]) == count and int(rows[case]["predicted"]) == found.max()
        assert float(rows[case]["f1"]) == pytest.approx(scored.f1)
        assert float(rows[case]["aji"]) == pytest.approx(scored.aji)
    summary = files.read_json(place / "work/evaluation/summary.json")["sets"]["val"]["objects"]
    assert summary["objects"] == 11 and summary["over_images"]["f1"]["n"] == 2
    assert "objects        F1" in (place / "said.txt").read_text()


def test_the_model_folder_alone_writes_the_same_map(place: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for case in CASES:
        video, frame = case.split("__")
        (tmp_path / f"in/{case}.tif").write_bytes((place / f"data/{video}/t{frame}.tif").read_bytes())
    say = Reporter(stream=io.StringIO())
    ended = segment.run([tmp_path / "in"], tmp_path / "out", Settings(place / "work/model"), say)
    assert ended in (ExitCode.DONE, ExitCode.SOME_EXCLUDED)
    for case in CASES:
        same = (tmp_path / f"out/{case}_instances.tif").read_bytes()
        assert same == (place / f"work/predictions/{case}_instances.tif").read_bytes()


def test_numbers_that_are_none_exclude_a_case_and_the_run_goes_on(tmp_path: Path) -> None:
    sample = RECIPES["ctc_phc_u373"]
    sample.build(tmp_path / "data")
    halves = cells(5).astype(np.float32) + np.where(cells(5) > 0, np.float32(0.5), 0)
    tifffile.imwrite(tmp_path / "data/02_ST/SEG/man_seg001.tif", halves)
    request = Request("ctc_phc_u373", tmp_path / "data", tmp_path / "work", sample.settings)
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(tmp_path / "work/ingest/quarantine.csv")
    assert (row["case"], row["code"]) == ("02__001", Code.LABEL_NOT_INTEGER)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("data.label_form=values",), "do not tell objects apart"),
        (
            ("data.classes={0: background, 1: cell, 2: debris}", "data.label_form=values"),
            "objects of 3 classes",
        ),
        (("data.background=false",), "objects of 2 classes"),
        (("sampling.plane=[axial, coronal]",), "name one plane, or leave instances out"),
        (("predict.instances.method=guess",), "predict.instances.method"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load.load("ctc_phc_u373", settings)
    assert any(words in str(problem) for problem in caught.value.problems), caught.value.problems
