"""A recipe with layout `dicom`: the same training as on the same subjects in NIfTI files, and no identity."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.errors import ExitCode
from medseg.ingest.privacy import Pseudonyms
from pipelines.job import STAGES
from tests.helpers.box_runs import go
from tests.helpers.box_subjects import make_subjects
from tests.helpers.dicom_subjects import as_dicom

CLASSES = {0: "background", 1: "outer", 2: "inner"}
SERIES = {"layout": "dicom", "series": {"t1": "*T1*"}, "classes": CLASSES}
ROLES = {"train": [0, 1], "val": [2], "test": [3, 4]}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "nifti", labelled=5, unlabelled=1)
    as_dicom(tmp_path / "nifti", tmp_path / "CANARY export")
    return tmp_path


def data(work: Path, **more: Any) -> dict[str, Any]:
    """The section `data` with a split by case names, which a key of one's own makes known beforehand."""
    (work / "private").mkdir(parents=True, exist_ok=True)
    (work / "private/key").write_bytes(b"0123456789abcdef")
    return {**SERIES, "splits": {role: [case(n) for n in numbers] for role, numbers in ROLES.items()}, **more}


def case(number: int) -> str:
    digest = Pseudonyms(b"0123456789abcdef").digest(f"1.2.{number + 1}.1", "")
    return f"mr-{digest[:12]}"


def test_series_and_segmentations_train_as_nifti_files_do(place: Path) -> None:
    roles = {role: [case(n) for n in numbers] for role, numbers in ROLES.items()}
    named = {"layout": "patterns", "channels": {"t1": "{case}.nii.gz"}, "label": "{case}_seg.nii.gz"}
    (place / "files").mkdir()
    for number in range(6):
        for path in (place / f"nifti/s{number}").iterdir():
            path.rename(place / "files" / path.name.replace(f"s{number}", case(number), 1))
    ended, _ = go(
        place / "files", place / "of_files", parts={"data": {**named, "classes": CLASSES, "splits": roles}}
    )
    assert ended == ExitCode.DONE
    ended, lines = go(place / "CANARY export", place / "work", parts={"data": data(place / "work")})
    assert ended == ExitCode.DONE and "6 cases usable (5 labelled), 0 excluded" in lines
    for number in (0, 1, 2):
        for name in ("image.npy", "label.npy"):
            one = np.load(place / f"of_files/prepared/{case(number)}/{name}")
            other = np.load(place / f"work/prepared/{case(number)}/{name}")
            np.testing.assert_array_equal(one, other)
    for number in (3, 4, 5):
        one, other = (
            nib.load(place / work / f"predictions/{case(number)}.nii.gz") for work in ("of_files", "work")
        )
        np.testing.assert_array_equal(one.get_fdata(), other.get_fdata())
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
    weights = [files.read_json(place / work / "model/model.json")["members"] for work in ("of_files", "work")]
    assert weights[0][0]["sha256"] == weights[1][0]["sha256"]
    scores = files.read_csv(place / "work/evaluation/scores.csv")
    assert {(row["case"], row["class"]) for row in scores} == {
        (case(n), name) for n in (3, 4) for name in ("outer", "inner")
    }
    _, lines = go(place / "CANARY export", place / "work", parts={"data": data(place / "work")})
    assert lines.count("up to date") == len(STAGES)


def test_no_identity_leaves_private(place: Path) -> None:
    parts = {"data": data(place / "work"), "tracking": {"enabled": True}}
    _, lines = go(place / "CANARY export", place / "work", parts=parts)
    assert "CANARY" not in lines and b"CANARY" in (place / "work/private/index.csv").read_bytes()
    modes = {p.name: p.stat().st_mode & 0o777 for p in (place / "work/private").rglob("*") if p.name != "key"}
    assert {mode for name, mode in modes.items() if name != "series"} == {0o600} and modes["series"] == 0o700
    shutil.rmtree(place / "work/private")
    paths = [path for path in (place / "work").rglob("*") if path.is_file()]
    assert {"mlflow.db", "report.html", "recipe.yaml", "cases.csv"} <= {path.name for path in paths}
    assert not [path for path in paths if b"CANARY" in path.read_bytes().upper() or "CANARY" in path.name]


def test_the_work_folder_knows_its_export(place: Path) -> None:
    go(place / "CANARY export", place / "work", only="ingest", parts={"data": data(place / "work")})
    ended, lines = go(None, place / "work", parts={"data": data(place / "work")})  # type: ignore[arg-type]
    assert ended == ExitCode.DONE and "ingest: up to date" in lines


def test_a_changed_series_is_read_again(place: Path) -> None:
    parts = {"data": data(place / "work")}
    go(place / "CANARY export", place / "work", parts=parts)
    path = sorted((place / "CANARY export/CANARY 1/t1").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-2] + b"\x07\x07")
    before = files.read_json(place / f"work/prepared/{case(1)}/key.json")
    first = files.read_json(place / f"work/prepared/{case(0)}/key.json")
    go(place / "CANARY export", place / "work", parts=parts, overwrite=True)
    assert files.read_json(place / f"work/prepared/{case(1)}/key.json") == before
    assert files.read_json(place / f"work/prepared/{case(0)}/key.json") != first
