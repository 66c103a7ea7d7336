"""The predict stage's table of volumes, and what becomes of files that an earlier prediction left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from pipelines import run as pipeline
from pipelines.run import Request
from tests.helpers.box_subjects import make_subjects

RECIPE = {
    "name": "boxes",
    "data": {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "label": "{case}/{case}_seg.nii.gz",
        "classes": {0: "background", 1: "outer", 2: "inner"},
        "splits": {"train": ["s0"], "val": ["s1"], "test": ["s2"]},
    },
    "sampling": {"window": [16, 16]},
    "network": {"name": "usegnet", "keywords": {"width": 2}},
    "train": {
        "epochs": 1,
        "steps_per_epoch": 1,
        "batch": 2,
        "threads": 1,
        "precision": "fp32",
        "device": "cpu",
    },
    "tracking": {"enabled": False},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=3, unlabelled=1)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(RECIPE))
    for stage in ("ingest", "preprocess", "train", "predict"):
        predict(tmp_path, stage)
    return tmp_path


def predict(place: Path, stage: str = "predict", *settings: str) -> None:
    request = Request(str(place / "boxes.yaml"), place / "data", place / "work", settings)
    pipeline.run(request, Reporter(stream=io.StringIO(), results=io.StringIO()), only=stage)


def test_predictions_are_told_in_a_table_and_remade_where_their_files_are_damaged(place: Path) -> None:
    out = place / "work/predictions"
    rows = files.read_csv(out / "volumes.csv")
    assert list(rows[0]) == [
        *("case", "file", "status", "code", "note", "outer_ml", "inner_ml"),
        *("quality", "needs_review", "seconds", "members"),
    ]
    assert [(r["case"], r["members"]) for r in rows] == [("s2", "fold0"), ("s3", "fold0")]
    told = files.read_json(out / "s2.json")
    assert rows[0]["outer_ml"] == str(told["sizes"]["outer"])
    assert rows[0]["file"] == str(place / "data/s2/s2.nii.gz")

    (out / "s2.json").write_text("{}")
    (out / "volumes.csv").unlink()
    predict(place)
    assert files.read_json(out / "s2.json")["sizes"] == told["sizes"]
    again = files.read_csv(out / "volumes.csv")
    assert [(r["case"], r["outer_ml"]) for r in again] == [(r["case"], r["outer_ml"]) for r in rows]

    predict(place, "predict", "predict.confidence_map=true")
    assert sorted(p.name for p in out.glob("*_confidence.nii.gz")) == [
        "s2_confidence.nii.gz",
        "s3_confidence.nii.gz",
    ]
    predict(place, "predict", "predict.confidence_map=true", "predict.roles=[test]")
    assert sorted(p.name for p in out.glob("s*")) == [
        "s2.json",
        "s2.nii.gz",
        "s2_confidence.nii.gz",
        "stage.json",
    ]
    predict(place, "predict", "predict.confidence_map=false")
    assert not list(out.glob("*_confidence.nii.gz"))

    predict(place, "predict", "predict.probabilities=true")
    path = out / "s2_probabilities.nii.gz"
    before = path.read_bytes()
    path.write_bytes(b"damaged")
    predict(place, "predict", "predict.probabilities=true")
    assert path.read_bytes() == before
    predict(place, "predict", "predict.probabilities=false")
    assert not path.exists()


def test_predictions_of_a_scan_that_cannot_be_read_for_a_moment_are_kept(place: Path) -> None:
    out, scan = place / "work/predictions", place / "data/s3/s3.nii.gz"
    before = {path.name: path.read_bytes() for path in out.glob("s3*")}
    scan.rename(place / "s3.nii.gz")
    scan.symlink_to(place / "not_mounted/s3.nii.gz")
    for stage in ("ingest", "preprocess", "train", "predict", "evaluate"):
        predict(place, stage)
    assert [r["case"] for r in files.read_csv(place / "work/ingest/quarantine.csv")] == ["s3"]
    assert [r["case"] for r in files.read_csv(out / "volumes.csv")] == ["s2"]
    assert {path.name: path.read_bytes() for path in out.glob("s3*")} == before
    predict(place, "report")
    scan.unlink()
    (place / "s3.nii.gz").rename(scan)
    for stage in ("ingest", "preprocess", "train", "predict"):
        predict(place, stage)
    assert [r["case"] for r in files.read_csv(out / "volumes.csv")] == ["s2", "s3"]
    assert {path.name: path.read_bytes() for path in out.glob("s3*")} == before  # and not made again


def test_a_label_map_that_was_damaged_is_made_again_and_no_other(place: Path) -> None:
    out = place / "work/predictions"
    before = (out / "s2.nii.gz").read_bytes(), (out / "s3.nii.gz").stat().st_mtime_ns
    (out / "s2.nii.gz").write_bytes(before[0][:40])
    predict(place)
    assert (out / "s2.nii.gz").read_bytes() == before[0]
    assert (out / "s3.nii.gz").stat().st_mtime_ns == before[1]


def test_cases_may_be_called_like_the_files_of_the_stage(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=3, unlabelled=1)
    for old, new in (("s2", "stage"), ("s3", "labels")):
        (tmp_path / "data" / old).rename(tmp_path / "data" / new)
        for path in (tmp_path / "data" / new).iterdir():
            path.rename(path.with_name(path.name.replace(old, new)))
    tree = {
        **RECIPE,
        "data": {**RECIPE["data"], "splits": {"train": ["s0"], "val": ["s1"], "test": ["stage"]}},
    }
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree))
    for stage in ("ingest", "preprocess", "train", "predict", "evaluate", "report"):
        predict(tmp_path, stage)
    out = tmp_path / "work/predictions"
    assert files.read_json(out / "stage.json")["stage"] == "predict"
    assert files.read_json(out / "stage_case.json")["case"] == "stage"
    assert files.read_json(out / "labels_case.json")["case"] == "labels"
    page = (tmp_path / "work/report/report.html").read_text()
    assert "no prediction" not in page
    predict(tmp_path)
    assert (out / "labels_case.json").is_file()


@pytest.mark.parametrize(
    ("splits", "details"),
    [
        ("{train: [s1], val: [s2], test: [s0]}", "test cases that were training cases of this network: s0"),
        ("{train: [s0], val: [s2], test: [s1]}", "test cases that were validation cases of this network: s1"),
    ],
)
def test_a_case_that_the_network_has_seen_is_never_predicted_as_a_test_case(
    place: Path, splits: str, details: str
) -> None:
    predict(place, "ingest", f"data.splits={splits}")
    with pytest.raises(MedsegError) as refusal:
        predict(place, "predict", f"data.splits={splits}")
    finding = refusal.value.finding
    assert (finding.code, finding.details) == (Code.SETTINGS_CHANGED, details)
    assert finding.where == str(place / "work/train/0")
    predict(place, "ingest")
    predict(place)


def test_cases_whose_predictions_would_share_a_file_are_refused_before_training(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=3, unlabelled=1)
    folder = (tmp_path / "data/s3").rename(tmp_path / "data/s2_confidence")
    (folder / "s3.nii.gz").rename(folder / "s2_confidence.nii.gz")
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(MedsegError) as refusal:
        predict(tmp_path, "ingest")
    assert refusal.value.code is Code.DUPLICATE_CASE
    assert "s2 and s2_confidence would both have the file s2_confidence" in refusal.value.finding.details
    predict(tmp_path, "ingest", "predict.roles=[test]")
