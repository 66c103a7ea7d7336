"""The predict stage's table of volumes, and what becomes of files that an earlier prediction left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from medseg import files
from medseg.console import Reporter
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
