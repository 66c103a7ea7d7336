"""`medseg check` and `medseg init` on folders nobody described; label faults in a training folder."""

from __future__ import annotations

import io
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.config import load
from medseg.config.fitted import plan
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest import layouts
from medseg.ingest.layouts import Guess
from pipelines import run as pipeline
from pipelines.commands import check, init, init_text
from pipelines.run import Request
from pipelines.stages import ingest as ingest_stage

USUAL = plan.unfitted("mm", multilabel=False)

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
    assert ended == ExitCode.SOME_EXCLUDED
    rows = files.read_csv(faults / "work/ingest/quarantine.csv")
    assert {r["case"]: r["code"] for r in rows} == EXPECTED
    assert all(r["file"] and r["details"] and r["how_to_fix"] for r in rows)
    usable = {r["case"]: r["notes"] for r in files.read_csv(faults / "work/ingest/cases.csv")}
    assert usable.keys() == {"good1", "good2", "nearly"}
    assert "LABEL_ROUNDED" in usable["nearly"]


def ingest(faults: Path, *settings: str) -> tuple[ExitCode, str]:
    stream = io.StringIO()
    given = ("tracking.enabled=false", *settings)
    request = Request(str(faults / "faults.yaml"), None, faults / "work", given)
    return pipeline.run(request, Reporter(stream=stream), only="ingest"), stream.getvalue()


def test_scans_that_no_pattern_matches_are_named(faults: Path, brain: Any) -> None:
    for name in ("elsewhere/late.nii.gz", "top.nii.gz"):
        save(faults / "data" / name, brain)
    for ended, said in (ingest(faults), ingest(faults)):
        assert ended == ExitCode.SOME_EXCLUDED
        assert "2 scans match no pattern: elsewhere/late.nii.gz, top.nii.gz" in said
    assert "up to date" in said
    told = files.read_json(faults / "work/ingest/dataset.json")
    assert told["ignored"] == ["elsewhere/late.nii.gz", "top.nii.gz"]
    stream = io.StringIO()
    check.run(faults / "data", str(faults / "faults.yaml"), Reporter(stream=stream))
    assert "2 scans match no pattern: elsewhere/late.nii.gz, top.nii.gz" in stream.getvalue()


@pytest.mark.parametrize(
    ("globs", "lines"),
    [
        (
            '["top.*"]',
            ["1 scan matches no pattern: elsewhere/late.nii.gz", "1 scan is left out by data.ignore"],
        ),
        ('["*late.nii.gz", "top.*"]', ["2 scans are left out by data.ignore"]),
    ],
)
def test_scans_that_the_recipe_ignores_are_only_counted(
    faults: Path, brain: Any, globs: str, lines: list[str]
) -> None:
    for name in ("elsewhere/late.nii.gz", "top.nii.gz"):
        save(faults / "data" / name, brain)
    _, said = ingest(faults, f"data.ignore={globs}")
    assert [line.strip() for line in said.splitlines() if "pattern" in line or "ignore" in line] == lines


@pytest.mark.parametrize("lost", ["ignored", "cases", "strays"])
def test_a_scan_that_gets_lost_between_folder_and_rows_stops_ingest(
    faults: Path, brain: Any, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    save(faults / "data/elsewhere/late.nii.gz", brain)
    find = layouts.find
    monkeypatch.setattr(
        layouts, "find", lambda *a, **k: replace(whole := find(*a, **k), **{lost: getattr(whole, lost)[1:]})
    )
    with pytest.raises(MedsegError) as caught:
        ingest(faults)
    assert caught.value.code == Code.DOES_NOT_ADD_UP
    assert "scans in no row: " in caught.value.finding.details
    assert not (faults / "work/ingest/cases.csv").exists()


def test_a_case_without_a_row_stops_ingest(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_all = ingest_stage._read_all
    monkeypatch.setattr(ingest_stage, "_read_all", lambda *a: (*read_all(*a)[:2], []))
    with pytest.raises(MedsegError) as caught:
        ingest(faults)
    assert caught.value.code == Code.DOES_NOT_ADD_UP
    assert "8 inputs, 3 usable + 1 excluded" in caught.value.finding.details


def test_a_split_that_fails_names_the_cases_set_aside(faults: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        ingest(faults, "data.splits={train: [good1], test: [unknown]}")
    assert caught.value.code == Code.SPLIT_INVALID
    assert "unknown (LABEL_VALUE_UNKNOWN)" in caught.value.finding.details


def test_a_work_folder_inside_the_data_is_no_data(faults: Path) -> None:
    make = Request(str(faults / "faults.yaml"), None, faults / "data/work", ("tracking.enabled=false",))
    save(faults / "data/work/predictions/good1.nii.gz", np.zeros((4, 4, 4), np.uint8))
    pipeline.run(make, Reporter(stream=io.StringIO()), only="ingest")
    assert files.read_json(faults / "data/work/ingest/dataset.json")["ignored"] == []


def test_a_recipe_for_another_layout_is_refused(faults: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        check.run(faults / "data/images", "hippocampus_quick", Reporter(stream=io.StringIO()))
    assert caught.value.code == Code.RECIPE_INVALID
    assert "imagesTr" in caught.value.finding.details


def test_check_says_the_same_and_changes_nothing(faults: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in faults.rglob("*")}
    stream = io.StringIO()
    ended = check.run(faults / "data", str(faults / "faults.yaml"), Reporter(stream=stream))
    assert ended == ExitCode.SOME_EXCLUDED
    for name, code in EXPECTED.items():
        assert any(name in line and code in line for line in stream.getvalue().splitlines())
    assert "8 inputs: 3 usable, 5 would be excluded" in stream.getvalue()
    assert {p: p.stat().st_mtime_ns for p in faults.rglob("*")} == before


def test_check_without_a_recipe_reads_every_scan(tmp_path: Path, brain: Any) -> None:
    save(tmp_path / "a.nii.gz", brain)
    save(tmp_path / "deep/b.nii.gz", np.full_like(brain, 3))
    stream = io.StringIO()
    assert check.run(tmp_path, None, Reporter(stream=stream)) == ExitCode.SOME_EXCLUDED
    assert "CONSTANT" in stream.getvalue()
    (tmp_path / "link.nii").symlink_to(tmp_path / "gone.nii")
    (tmp_path / "folder.nii.gz").mkdir()
    check.run(tmp_path, None, Reporter(stream=stream))
    assert "4 files: 1 usable, 3 would be excluded" in stream.getvalue()
    assert stream.getvalue().count("FILE_UNREADABLE") == 2
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
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.SOME_EXCLUDED
    with pytest.raises(MedsegError) as caught:
        init.run(faults / "data", out, force=False)
    assert caught.value.code == Code.USAGE
    init.run(faults / "data", out, force=True)


@pytest.mark.parametrize("name", ["my recipe.yaml", "_x: [y].yaml", "étude.yaml", "...yaml", "yes.yaml"])
@pytest.mark.parametrize("folder", ["my data #1: x", "it's {a}, 'b'", "null", "two\nlines"])
def test_init_writes_recipes_that_load_whatever_the_names(tmp_path: Path, name: str, folder: str) -> None:
    data = tmp_path / folder
    for case in ("a", "b"):
        save(data / f"images/{case}.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
        save(data / f"labels/{case}.nii", np.eye(4, 5, dtype=np.uint8) * np.ones((3, 1, 1), np.uint8))
    init.run(data, tmp_path / name, force=False)
    recipe = load.load(str(tmp_path / name))
    assert recipe.data.path == data
    text = (tmp_path / name).read_text()
    assert f"# Read it once, then: medseg run {shlex.quote(str(tmp_path / name))}" in text
    assert yaml.safe_load(text)["name"] == recipe.name


def test_class_and_channel_names_are_quoted_where_they_must_be() -> None:
    classes = {0: "no", 1: "CSF: inner", 2: "7", 3: "null", 4: "a, b", 5: "white matter"}
    guess = Guess("plain", {"t1: x": "images/{case}.nii", "y": "*{case}"}, "l/{case}", classes, 2, 2)
    tree = yaml.safe_load(init_text.recipe_text(Path("r.yaml"), Path("data"), guess, USUAL))
    assert tree["data"]["classes"] == classes
    assert tree["data"]["channels"] == guess.channels


def test_init_of_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(MedsegError) as caught:
            init.run(tmp_path / folder, tmp_path / "r.yaml", force=False)
        assert caught.value.code in {Code.NOTHING_USABLE, Code.PATH_MISSING}
        assert not (tmp_path / "r.yaml").exists()


def test_a_file_where_a_folder_is_wanted_is_not_called_missing(tmp_path: Path, brain: Any) -> None:
    scan = tmp_path / "scan.nii.gz"
    save(scan, brain)
    for wanted in (
        lambda: check.run(scan, None, Reporter(quiet=True, stream=io.StringIO())),
        lambda: init.run(scan, tmp_path / "r.yaml", force=False),
    ):
        with pytest.raises(MedsegError) as refused:
            wanted()
        assert refused.value.finding.details == "a file, where a folder is wanted"
