"""The viewer's pages of a run: which cases have one, and which are made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from pipelines.execution.engines import Execution
from pipelines.execution.limits import Limits
from tests.helpers.box_runs import go
from tests.helpers.box_subjects import make_subjects

PARTS = {"predict": {"confidence_map": True}}
EVIL = "x<b>#?%41&'"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and the work folder `done` of a whole run; one case has a hostile name."""
    place = tmp_path_factory.mktemp("views")
    make_subjects(place / "data", labelled=4, unlabelled=1)
    shutil.copytree(place / "data/s3", place / "data" / EVIL)
    for ending in ("", "_seg"):
        source = place / "data" / EVIL / f"s3{ending}.nii.gz"
        scan = nib.load(source)
        voxels = np.asarray(scan.dataobj)
        nib.save(
            nib.Nifti1Image(voxels[:, ::-1].copy(), scan.affine), source.with_name(f"{EVIL}{ending}.nii.gz")
        )
        source.unlink()
    run(place, place / "done")
    return place


@pytest.fixture
def work(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "done", tmp_path / "work"))


def run(place: Path, work: Path, *settings: str, **keywords: Any) -> str:
    splits = {"train": ["s0"], "val": ["s1"], "test": ["s2", "s3", EVIL]}
    data = {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "label": "{case}/{case}_seg.nii.gz",
        "classes": {0: "background", 1: "outer", 2: "inner"},
        "splits": splits,
    }
    return go(place / "data", work, *settings, parts={**PARTS, "data": data}, **keywords)[1]


def pages(work: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (work / "report/cases").glob("*")}


def test_every_predicted_case_has_a_page_with_all_layers(place: Path) -> None:
    assert pages(place / "done").keys() == {"s2.html", "s3.html", "s4.html", f"{EVIL}.html"}
    text = (place / "done/report/cases/s2.html").read_text()
    for layer in ("truth", "prediction", "errors", "confidence"):
        assert f'value="{layer}"' in text
    assert 'value="truth"' not in (place / "done/report/cases/s4.html").read_text()
    report = (place / "done/report/report.html").read_text()
    assert 'href="cases/x%3Cb%3E%23%3F%2541%26%27.html"' in report and "<b>#" not in report


def test_pages_that_are_up_to_date_stay_and_others_are_made_again(place: Path, work: Path) -> None:
    before = pages(work)
    assert "report: up to date" in run(place, work) and pages(work) == before
    (work / "report/cases/s2.html").unlink()
    damaged = work / "report/cases/s3.html"
    damaged.write_bytes(damaged.read_bytes()[:-500])
    (work / "report/cases/gone.html").write_text("of a case that is gone")
    assert "made again" in run(place, work)
    after = pages(work)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"s2.html", "s3.html"}
    assert damaged.read_bytes() == (place / "done/report/cases/s3.html").read_bytes()


def test_as_many_pages_as_the_recipe_says_the_worst_first(place: Path, work: Path) -> None:
    order = [row["case"] for row in files.read_csv(work / "evaluation/scores.csv")]
    run(place, work, "report.viewers=1")
    (only,) = pages(work)
    assert only.removesuffix(".html") in order
    assert f"{only.removesuffix('.html')}</a>" in (work / "report/report.html").read_text().replace(
        "&lt;b&gt;", "<b>"
    )
    run(place, work, "report.viewers=0")
    assert pages(work) == {} and "cases/" not in (work / "report/report.html").read_text()


def test_pages_do_not_depend_on_the_engine(place: Path, work: Path) -> None:
    before = {path.name: path.read_bytes() for path in (work / "report/cases").glob("*")}
    shutil.rmtree(work / "report")
    run(place, work, execution=Execution(2, limits=Limits(100.0, 2**34)))
    assert {path.name: path.read_bytes() for path in (work / "report/cases").glob("*")} == before


def test_a_report_alone_leaves_out_views_of_cases_that_a_later_ingest_does_not_know(
    place: Path, work: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data/s3")
    splits = f"data.splits={json.dumps({'train': ['s0'], 'val': ['s1'], 'test': ['s2', EVIL]})}"
    run(tmp_path, work, splits, only="ingest")
    assert "report: " in run(tmp_path, work, only="report")
    assert pages(work).keys() == {"s2.html", "s4.html", f"{EVIL}.html"}
