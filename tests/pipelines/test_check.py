"""`medseg check` and `medseg init` on folders nobody described; label faults in a training folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.config import load
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import check, init
from pipelines import run as pipeline
from pipelines.reporter import Reporter
from pipelines.run import Request

STEP = np.diag([1.0, 1.0, 2.0, 1.0])


def save(path: Path, array: Any, affine: Any = STEP) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, affine).to_filename(path)


def label_of(brain: Any) -> Any:
    label = np.zeros(brain.shape, np.float32)
    label[6:12, 8:16, 2:5] = 1
    return label


@pytest.fixture
def faults(tmp_path: Path, brain: Any) -> Path:
    """Nine cases: two good, one with nearly whole values, six whose label is at fault, and a stray label."""
    folder, label = tmp_path / "data", label_of(brain)
    moved = STEP.copy()
    moved[0, 3] = 3.0
    unknown, between, nearly = label.copy(), label * 0.5, label + np.float32(4e-4)
    unknown[7, 9, 3] = 9
    labels = {
        "good1": (label, STEP),
        "good2": (label, STEP),
        "nearly": (nearly, STEP),
        "shape": (label[:-1], STEP),
        "grid": (label, moved),
        "unknown": (unknown, STEP),
        "between": (between, STEP),
    }
    for name, (array, affine) in labels.items():
        save(folder / "images" / f"{name}.nii.gz", brain)
        save(folder / "labels" / f"{name}.nii.gz", array, affine)
    save(folder / "labels" / "stray.nii.gz", label)
    tree = {
        "name": "faults",
        "data": {"path": "data", "layout": "plain", "classes": {0: "background", 1: "lesion"}},
    }
    (tmp_path / "faults.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


EXPECTED = {
    "shape": "GRID_MISMATCH",
    "grid": "GRID_MISMATCH",
    "unknown": "LABEL_VALUE_UNKNOWN",
    "between": "LABEL_NOT_INTEGER",
    "stray": "LABEL_WITHOUT_IMAGE",
}


def test_ingest_sets_label_faults_aside_with_their_codes(faults: Path) -> None:
    request = Request(str(faults / "faults.yaml"), None, faults / "work", ("tracking.enabled=false",))
    ended = pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest")
    assert ended == ExitCode.SOME_SET_ASIDE
    rows = files.read_csv(faults / "work/ingest/quarantine.csv")
    assert {r["case"]: r["code"] for r in rows} == EXPECTED
    assert all(r["file"] and r["found"] and r["remedy"] for r in rows)
    usable = {r["case"]: r["notes"] for r in files.read_csv(faults / "work/ingest/cases.csv")}
    assert usable.keys() == {"good1", "good2", "nearly"}
    assert "LABEL_ROUNDED" in usable["nearly"]


def test_check_says_the_same_and_changes_nothing(faults: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in faults.rglob("*")}
    stream = io.StringIO()
    ended = check.run(faults / "data", str(faults / "faults.yaml"), Reporter(stream=stream))
    assert ended == ExitCode.SOME_SET_ASIDE
    for name, code in EXPECTED.items():
        assert any(name in line and code in line for line in stream.getvalue().splitlines())
    assert "8 inputs: 3 usable, 5 would be set aside" in stream.getvalue()
    assert {p: p.stat().st_mtime_ns for p in faults.rglob("*")} == before


def test_check_without_a_recipe_reads_every_scan(tmp_path: Path, brain: Any) -> None:
    save(tmp_path / "a.nii.gz", brain)
    save(tmp_path / "deep/b.nii.gz", np.full_like(brain, 3))
    stream = io.StringIO()
    assert check.run(tmp_path, None, Reporter(stream=stream)) == ExitCode.SOME_SET_ASIDE
    assert "CONSTANT" in stream.getvalue()
    (tmp_path / "a.nii.gz").unlink()
    assert check.run(tmp_path, None, Reporter(stream=stream)) == ExitCode.NOTHING_USABLE
    with pytest.raises(MedsegError) as caught:
        check.run(tmp_path / "nowhere", None, Reporter(stream=stream))
    assert caught.value.code == Code.PATH_MISSING


def test_init_writes_a_recipe_that_loads_and_ingests(faults: Path) -> None:
    out = faults / "made.yaml"
    guess = init.run(faults / "data", out, force=False)
    assert guess.layout == "plain"
    recipe = load.load(str(out))
    assert recipe.data.class_list().values[:2] == (0, 1)
    request = Request(str(out), None, faults / "w2", ("tracking.enabled=false",))
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.SOME_SET_ASIDE
    with pytest.raises(MedsegError) as caught:
        init.run(faults / "data", out, force=False)
    assert caught.value.code == Code.USAGE
    init.run(faults / "data", out, force=True)


def test_init_of_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(MedsegError) as caught:
            init.run(tmp_path / folder, tmp_path / "r.yaml", force=False)
        assert caught.value.code in {Code.NOTHING_USABLE, Code.PATH_MISSING}
        assert not (tmp_path / "r.yaml").exists()
