"""`medseg init` and `medseg check` on exports with segmentations: a recipe that ingest takes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import yaml
from pydicom.uid import generate_uid

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest.layouts import Guess
from pipelines import run as pipeline
from pipelines.commands import check, init
from pipelines.run import Request
from tests.helpers.box_subjects import make_subjects
from tests.helpers.dicom_files import write_series
from tests.helpers.dicom_subjects import add_series, as_dicom
from tests.helpers.scan_files import save


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Five subjects with a series and a SEG, one without, a localizer and a text."""
    make_subjects(tmp_path / "nifti", labelled=5, unlabelled=1)
    root = tmp_path / "CANARY export"
    as_dicom(tmp_path / "nifti", root, SeriesDescription="t1 [sag] 1*")
    pixels = np.ones((4, 4, 3), np.uint16)
    write_series(root / "scout", pixels, np.eye(4), SeriesDescription="scout", PatientName="CANARY")
    (root / "README").write_text("x")
    return root


def test_the_recipe_names_the_labelled_series_and_the_segments(export: Path, tmp_path: Path) -> None:
    guess = init.run(export, out := tmp_path / "mine.yaml", force=False)
    assert (guess.n_cases, guess.n_labelled, guess.n_other) == (6, 5, 1)
    data = yaml.safe_load(out.read_text())["data"]
    assert (data["layout"], data["series"]) == ("dicom", {"mr": "t1 [[]sag] 1[*]"})
    assert data["classes"] == {0: "background", 1: "outer", 2: "inner"}
    say = Reporter(stream=io.StringIO())
    ended = pipeline.run(
        Request(str(out), None, tmp_path / "work", ("tracking.enabled=false",)), say, only="ingest"
    )
    assert ended == ExitCode.DONE
    assert len(files.read_csv(tmp_path / "work/ingest/cases.csv")) == 6


def test_series_on_the_grid_of_the_segmented_one_are_channels(export: Path, tmp_path: Path) -> None:
    pixels = np.arange(80, dtype=np.uint16).reshape(4, 4, 5)
    for folder in export.glob("CANARY */t1"):
        number = folder.parent.name.split()[1]
        tags = {
            "PatientID": pydicom.dcmread(next(folder.iterdir())).PatientID,
            "StudyInstanceUID": f"1.2.{number}",
            "FrameOfReferenceUID": f"1.2.{number}.9",
        }
        image = nib.load(tmp_path / f"nifti/s{int(number) - 1}/s{int(number) - 1}.nii.gz")
        series = f"1.2.{number}.3"
        add_series(folder.with_name("flair"), image, series=series, SeriesDescription="t2 FLAIR ax", **tags)
        write_series(
            folder.with_name("dwi"),
            pixels,
            np.eye(4),
            series=f"1.2.{number}.4",
            SeriesDescription="dwi",
            **tags,
        )
    guess = init.run(export, out := tmp_path / "mine.yaml", force=False)
    assert {name: rules.description for name, rules in guess.series.items()} == {
        "t1": ("t1 [[]sag] 1[*]",),
        "t2_flair": ("t2 FLAIR ax",),
    }
    assert (guess.n_cases, guess.n_labelled) == (6, 5)
    assert "not channels, for they lie on another grid than the segmented series: dwi" in guess.remarks
    request = Request(str(out), None, tmp_path / "work", ("tracking.enabled=false",))
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.DONE
    rows = files.read_csv(tmp_path / "work/ingest/cases.csv")
    assert [row["labelled"] for row in rows].count("yes") == 5 and len(rows) == 6


def test_another_modality_than_mr_is_a_rule_of_its_own(tmp_path: Path) -> None:
    pixels = np.arange(80, dtype=np.uint16).reshape(4, 4, 5)
    for number, description in enumerate(("liver [1]", ""), 1):
        root, out = tmp_path / str(number), tmp_path / f"{number}.yaml"
        write_series(root, pixels, np.eye(4), Modality="CT", SeriesDescription=description)
        init.run(root, out, force=False)
        pattern = "liver [[]1]" if description else "*"
        rules = {"ct": {"modality": ["CT"], "description": [pattern]}}
        assert yaml.safe_load(out.read_text())["data"]["series"] == rules
        ended = check.run(root, str(out), Reporter(stream=io.StringIO()), as_json=False)
        assert ended == ExitCode.DONE


def test_check_with_the_recipe_names_no_identity_and_writes_nothing(export: Path, tmp_path: Path) -> None:
    init.run(export, recipe := tmp_path / "mine.yaml", force=False)
    slices = (export / "CANARY 2/t1").iterdir()
    next(path for path in slices if pydicom.dcmread(path).ImagePositionPatient[2] == 4).unlink()
    screen, results = io.StringIO(), io.StringIO()
    before = sorted(tmp_path.rglob("*"))
    ended = check.run(export, str(recipe), Reporter(stream=screen, results=results), as_json=True)
    rows: list[dict[str, Any]] = json.loads(results.getvalue())["results"]
    assert ended == ExitCode.SOME_EXCLUDED and sorted(tmp_path.rglob("*")) == before
    codes = sorted(row["code"] for row in rows if row["verdict"] == "excluded")
    assert len(rows) == 7 and codes == ["LABEL_WITHOUT_IMAGE", "SLICES_MISSING"]
    assert "CANARY" not in results.getvalue() + screen.getvalue()
    assert "series not chosen (description: matches none of the patterns): 1" in screen.getvalue()


def test_segmentations_decide_between_an_export_and_files_beside_it(export: Path, tmp_path: Path) -> None:
    save(export / "plain.nii.gz", np.random.default_rng(0).normal(size=(5, 5, 5)))
    assert init.run(export, tmp_path / "a.yaml", force=False).layout == "dicom"
    for path in export.rglob("seg.dcm"):
        path.unlink()
    assert init.run(export, tmp_path / "b.yaml", force=False).layout != "dicom"


def test_without_segmentations_a_note_says_so(export: Path, tmp_path: Path) -> None:
    for path in export.rglob("seg.dcm"):
        path.unlink()
    init.run(export, out := tmp_path / "mine.yaml", force=False)
    assert "# Note: no DICOM SEG is there" in out.read_text()
    assert load.load(str(out)).data.layout == "dicom"


def test_an_export_without_a_volume_is_refused_in_one_line(export: Path, tmp_path: Path) -> None:
    for folder in export.glob("*/t1"):
        shutil.rmtree(folder)
    for path in sorted((export / "scout").iterdir())[1:]:
        path.unlink()
    with pytest.raises(MedsegError, match="ONE_SLICE") as refused:
        init.run(export, tmp_path / "mine.yaml", force=False)
    assert refused.value.code == Code.NOTHING_USABLE and not (tmp_path / "mine.yaml").exists()
    shutil.rmtree(export / "scout")
    with pytest.raises(MedsegError, match="no series of images"):
        init.run(export, tmp_path / "mine.yaml", force=False)


def described(files: list[Path], **tags: str) -> None:
    """Give DICOM files other tags."""
    for path in files:
        dataset = pydicom.dcmread(path)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def ingested(export: Path, tmp_path: Path) -> tuple[Guess, list[dict[str, str]]]:
    """The guess, and the rows of the cases that ingest finds with its recipe."""
    guess = init.run(export, out := tmp_path / "mine.yaml", force=False, minutes=0.1)
    request = Request(str(out), None, tmp_path / "work", ("tracking.enabled=false",))
    pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest")
    return guess, files.read_csv(tmp_path / "work/ingest/cases.csv")


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        ([f"t1 sag {number}" for number in range(6)], ("t1 sag *",)),
        (["T1", "t1_sag", "MPRAGE", "t1", "T1 3D", "t1"], ("T1", "t1_sag", "MPRAGE", "t1", "T1 3D")),
    ],
)
def test_segmented_series_that_are_called_differently_are_one_channel(
    export: Path, tmp_path: Path, names: list[str], patterns: tuple[str, ...]
) -> None:
    for folder, name in zip(sorted(export.glob("CANARY */t1")), names, strict=True):
        described(sorted(folder.iterdir()), SeriesDescription=name)
    guess, rows = ingested(export, tmp_path)
    assert guess.series["mr"].description == patterns and guess.n_labelled == 5
    assert [row["labelled"] for row in rows].count("yes") == 5 and len(rows) == 6


def test_series_of_one_study_that_are_called_differently_stay_apart(export: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(sorted(export.glob("CANARY */t1"))):
        described(sorted(folder.iterdir()), SeriesDescription=f"t1 {'ab'[number % 2]}")
        shutil.copytree(folder, other := folder.with_name("other"))
        for path in other.iterdir():
            series = f"{pydicom.dcmread(path).SeriesInstanceUID}.7"
            name = f"t1 {'ba'[number % 2]}"
            described([path], SeriesInstanceUID=series, SOPInstanceUID=generate_uid(), SeriesDescription=name)
    guess, rows = ingested(export, tmp_path)
    assert {rules.description for rules in guess.series.values()} == {("t1 a",), ("t1 b",)}
    assert guess.n_labelled == 5 and [row["labelled"] for row in rows].count("yes") == 5


def test_one_class_whose_label_is_spelt_differently_is_one(export: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(export.rglob("seg.dcm"))):
        dataset = pydicom.dcmread(path)
        dataset.SegmentSequence[0].SegmentLabel = ("outer", "Outer ", "OUTER")[number % 3]
        dataset.save_as(path)
    guess, rows = ingested(export, tmp_path)
    assert guess.classes == {0: "background", 1: "outer", 2: "inner"}
    assert [row["labelled"] for row in rows].count("yes") == 5


def test_of_several_readers_one_is_taken_by_the_description(export: Path, tmp_path: Path) -> None:
    for path in sorted(export.rglob("seg.dcm")):
        shutil.copy(path, second := path.with_name("second.dcm"))
        described([path], SeriesDescription="reader A")
        described([second], SeriesDescription="reader B", SOPInstanceUID=generate_uid())
    guess, rows = ingested(export, tmp_path)
    assert guess.label == "reader A" and "those called reader A are taken, beside reader B (5)" in str(guess)
    assert [row["labelled"] for row in rows].count("yes") == 5


def test_readers_that_nothing_tells_apart_give_a_skeleton(export: Path, tmp_path: Path) -> None:
    for path in sorted(export.rglob("seg.dcm")):
        shutil.copy(path, second := path.with_name("second.dcm"))
        described([second], SOPInstanceUID=generate_uid())
    guess = init.run(export, out := tmp_path / "mine.yaml", force=False, minutes=0.1)
    assert guess.n_labelled == 0 and "# NOT COMPLETE" in out.read_text()
    assert "choose one by data.label" in out.read_text()


def test_patients_of_one_id_are_told(export: Path, tmp_path: Path) -> None:
    described([path for path in export.glob("CANARY */**/*") if path.is_file()], PatientID="ANON")
    guess = init.run(export, tmp_path / "mine.yaml", force=False, minutes=0.1)
    assert guess.n_labelled == 5 and "have one PatientID" in " ".join(guess.remarks)
