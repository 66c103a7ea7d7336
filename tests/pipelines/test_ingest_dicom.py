"""Ingest with layout `dicom`: each series and segmentation is in a case, in quarantine, or in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, ExitCode, MedsegError
from medseg.io import scans
from tests.helpers.box_runs import go
from tests.helpers.dicom_files import write_series
from tests.helpers.dicom_subjects import add_seg, add_series
from tests.helpers.scan_files import save

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
LABELS = np.zeros((16, 16, 5), np.uint8)
LABELS[3:12, 4:13, 1:4] = 1
LABELS[6:9, 6:9, 2] = 2
CLASSES = {0: "background", 1: "outer", 2: "Inner"}
DATA = {"layout": "dicom", "classes": CLASSES, "splits": {"val": 0, "test": 0}}
ONE_CLASS = ClassList.from_names({0: "background", 1: "outer"})
Rows = list[dict[str, str]]


def image(seed: int, shift_mm: float = 0.0) -> Any:
    affine = AFFINE.copy()
    affine[0, 3] = shift_mm
    grey = np.random.default_rng(seed).integers(0, 900, LABELS.shape).astype(np.int16)
    return nib.Nifti1Image(grey, affine)


def add_study(root: Path, patient: str, number: int = 0, *, seg: str | None = "t1", **tags: Any) -> Path:
    """A study with a T1 and a T2 series in one frame of reference, and a SEG of one of them."""
    study = root / f"{patient}_{number}"
    uid = f"1.{sum(patient.encode())}.{number}"
    common = {"PatientID": patient, "StudyInstanceUID": uid, "FrameOfReferenceUID": f"{uid}.9", **tags}
    for n, name in enumerate(("t1", "t2"), 1):
        add_series(study / name, image(n), series=f"{uid}.{n}", SeriesDescription=f"{name} tse", **common)
    if seg:
        add_seg(study / seg, nib.Nifti1Image(LABELS, AFFINE), study / "seg.dcm")
    return study


def ingest(root: Path, **data: Any) -> tuple[ExitCode, Rows, Rows, str]:
    """Exit code, rows of cases.csv and of quarantine.csv, and the lines for the user."""
    work = root.parent / "work"
    ended, lines = go(root, work, only="ingest", parts={"data": {**DATA, **data}})
    tables = [files.read_csv(work / f"ingest/{name}.csv") for name in ("cases", "quarantine")]
    assert "CANARY" not in lines and "CANARY" not in json.dumps(tables)
    return ended, tables[0], tables[1], lines


def quarantined(root: Path, **data: Any) -> list[str]:
    return sorted(row["code"] for row in ingest(root, **data)[2])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "CANARY export"


def label_of(row: dict[str, str]) -> Any:
    return scans.read(Path(row["label"])).array[0]


def test_a_study_is_a_case_of_several_channels_whatever_its_segmentation_refers_to(root: Path) -> None:
    for number, seg in enumerate(("t1", "t2", None)):
        add_study(root, "CANARY-a", number, seg=seg)
    ended, cases, excluded, lines = ingest(root, series={"t1": {"description": ["x", "t1*"]}, "t2": "T2*"})
    assert ended == ExitCode.DONE and not excluded and "3 cases usable (2 labelled)" in lines
    assert len({row["subject"] for row in cases}) == 1 and len({row["case"] for row in cases}) == 3
    for row in cases:
        channels = json.loads(row["channels"])
        assert list(channels) == ["t1", "t2"]
        for name, seed in (("t1", 1), ("t2", 2)):
            np.testing.assert_array_equal(
                scans.read(Path(channels[name])).array[0], np.asarray(image(seed).dataobj)
            )
    assert all(np.array_equal(label_of(row), LABELS) for row in cases if row["label"])
    index = files.read_csv(root.parent / "work/private/index.csv")
    assert {row["case"] for row in index} == {row["case"] for row in cases} and len(index) == 6


def test_one_channel_leaves_the_other_series_out_with_a_sentence(root: Path) -> None:
    add_study(root, "CANARY-a")
    write_series(root / "report", np.ones((4, 4, 1), np.uint16), AFFINE, Modality="SR")
    (root / "CANARY.txt").write_text("x")
    ended, cases, _, lines = ingest(root, series={"t1": {"description": "*T1*", "modality": "mr"}})
    assert ended == ExitCode.DONE and [row["labelled"] for row in cases] == ["yes"]
    for sentence in (
        "series not chosen (description: matches none of the patterns): 1",
        "DICOM objects that are neither scans nor segmentations: 1",
        "other files, neither DICOM nor label maps: 1",
    ):
        assert sentence in lines


def test_each_series_that_is_not_chosen_is_in_a_sentence_with_rule_and_value(root: Path) -> None:
    add_study(root, "CANARY-a")
    pixels = np.ones((4, 4, 3), np.uint16)
    write_series(root / "ct", pixels, AFFINE, Modality="CT", SeriesDescription="CANARY")
    write_series(root / "odd", pixels, AFFINE, Modality="CANARY", SeriesDescription="CANARY")
    write_series(root / "single", pixels[..., :1], AFFINE, Modality="CT", SeriesInstanceUID="1.3")
    ended, cases, excluded, lines = ingest(root, series={"t1": {"without": "t2*", "min_slices": 4}})
    assert ended == ExitCode.DONE and len(cases) == 1 and not excluded
    for sentence in (
        "series not chosen (without: the description matches a pattern): 1",
        "series not chosen (modality: CT; taken are MR): 2",
        "series not chosen (modality: unknown; taken are MR): 1",
    ):
        assert sentence in lines
    _, _, _, lines = ingest(root, series={"a": "t1*", "b": {"min_slices": 5, "description": "t2*"}})
    sentence = "series not chosen (a: modality: CT; taken are MR; b: modality: CT; taken are MR): 2"
    assert sentence in lines


def test_without_rules_mr_series_are_cases(root: Path) -> None:
    study = add_study(root, "CANARY-a")
    write_series(root / "ct", np.ones((4, 4, 3), np.uint16), AFFINE, Modality="CT")
    _, cases, _, lines = ingest(root)
    assert sorted(row["labelled"] for row in cases) == ["no", "yes"]
    assert "series not chosen (modality: CT; taken are MR): 1" in lines
    (study / "seg.dcm").unlink()
    with pytest.raises(MedsegError, match=r"no series is chosen by data\.series") as refused:
        ingest(root, series={"pet": {"modality": "PT"}})
    assert refused.value.code == Code.NOTHING_USABLE


def test_refused_and_doubtful_series_are_rows_with_their_code(root: Path) -> None:
    add_study(root, "CANARY-a")
    gap = add_study(root, "CANARY-b", seg=None)
    next(p for p in (gap / "t1").iterdir() if pydicom.dcmread(p).ImagePositionPatient[2] == 4).unlink()
    alone = add_study(root, "CANARY-c", seg=None)
    for path in (alone / "t2").iterdir():
        path.unlink()
    twice = add_study(root, "CANARY-d", seg=None)
    tags = {"PatientID": "CANARY-d", "StudyInstanceUID": f"1.{sum(b'CANARY-d')}.0"}
    add_series(twice / "again", image(3), series="1.7", SeriesDescription="t1 again", **tags)
    (root / "cut.dcm").write_bytes((twice / "t1/000").read_bytes()[:300])
    ended, cases, excluded, _ = ingest(root, series={"t1": "t1*", "t2": "t2*"})
    assert ended == ExitCode.SOME_EXCLUDED and len(cases) == 1
    codes = sorted(row["code"] for row in excluded)
    assert codes == [
        "CHANNEL_MISSING", "CHANNEL_MISSING", "DICOM_EMPTY", "DUPLICATE_CASE", "SLICES_MISSING",
    ]  # fmt: skip
    index = {row["case"] for row in files.read_csv(root.parent / "work/private/index.csv")}
    assert index == {row["case"] for row in (*cases, *excluded)}


def test_a_series_of_two_channels_is_refused(root: Path) -> None:
    add_study(root, "CANARY-a")
    add_study(root, "CANARY-b", seg=None)
    with pytest.raises(MedsegError) as refused:
        ingest(root, series={"one": "t1*", "other": {"modality": "MR"}})
    assert refused.value.code == Code.NOTHING_USABLE and "DUPLICATE_CASE" in str(refused.value)
    assert "CANARY" not in str(refused.value)


def test_channels_of_other_grids_are_refused(root: Path) -> None:
    add_study(root, "CANARY-a")
    other = add_study(root, "CANARY-b", seg=None)
    moved = {"PatientID": "CANARY-b", "StudyInstanceUID": f"1.{sum(b'CANARY-b')}.0"}
    for path in (other / "t2").iterdir():
        path.unlink()
    add_series(other / "t2", image(2, 3.0), series="1.8", SeriesDescription="t2", **moved)
    (row,) = ingest(root, series={"t1": "t1*", "t2": "t2*"})[2]
    assert row["code"] == "GRID_MISMATCH" and "3 mm" in row["details"]


def test_segmentations_of_other_series_are_refused(root: Path) -> None:
    add_study(root, "CANARY-a")
    add_study(root, "CANARY-b", seg="t2")
    absent = add_study(root, "CANARY-c")
    for path in (absent / "t1").iterdir():
        path.unlink()
    _, cases, excluded, _ = ingest(root, series={"t1": "t1*"})
    assert sorted(row["labelled"] for row in cases) == ["no", "yes"]
    assert [row["code"] for row in excluded] == ["LABEL_WITHOUT_IMAGE"] * 2
    assert {"another series" in row["details"] for row in excluded} == {True, False}


def test_a_segmentation_that_lies_elsewhere_is_refused(root: Path) -> None:
    add_study(root, "CANARY-a")
    moved, framed = (add_study(root, f"CANARY-{name}") / "seg.dcm" for name in "bc")
    dataset = pydicom.dcmread(moved)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        position[0] = float(position[0]) + 0.4
    dataset.save_as(moved)
    dataset = pydicom.dcmread(framed)
    dataset.FrameOfReferenceUID = "1.2.3.4.5"
    dataset.save_as(framed)
    excluded = ingest(root, series={"t1": "t1*"})[2]
    assert [row["code"] for row in excluded] == ["GRID_MISMATCH"] * 2
    assert sorted("0.4 mm" in row["details"] for row in excluded) == [False, True]


def test_damaged_and_overlapping_segmentations_are_refused(root: Path) -> None:
    add_study(root, "CANARY-a")
    cut = add_study(root, "CANARY-b") / "seg.dcm"
    cut.write_bytes(cut.read_bytes()[:-40])
    overlap = add_study(root, "CANARY-c", seg=None)
    masks = ClassList.of_masks({"outer": (1,), "inner": (2,)})
    add_seg(overlap / "t1", nib.Nifti1Image(LABELS + (LABELS == 2), AFFINE), overlap / "seg.dcm", masks)
    assert quarantined(root, series={"t1": "t1*"}) == ["DICOM_DAMAGED", "SEGMENTS_OVERLAP"]


def test_segments_get_classes_by_label_number_or_code(root: Path) -> None:
    study = add_study(root, "CANARY-a")
    code = pydicom.dcmread(study / "seg.dcm").SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    for wanted in ("inn*", 2, f"{code.CodingSchemeDesignator}:{code.CodeValue}", ["x", 2]):
        _, (case,), _, _ = ingest(
            root,
            series={"t1": "t1*"},
            classes={0: "background", 5: "core"},
            segments={5: wanted, 0: "outer"},
        )
        np.testing.assert_array_equal(label_of(case), np.where(LABELS == 2, 5, 0))


def test_segments_of_no_class_or_of_two_are_refused(root: Path) -> None:
    add_study(root, "CANARY-a")
    good = add_study(root, "CANARY-b", seg=None)
    add_seg(good / "t1", nib.Nifti1Image(LABELS % 2, AFFINE), good / "seg.dcm", ONE_CLASS)
    for more in (
        {"classes": {0: "background", 1: "outer"}},
        {"segments": {1: ["outer", "inner"], 2: "inner"}},
    ):
        (row,) = ingest(root, series={"t1": "t1*"}, **more)[2]
        assert row["code"] == "LABEL_VALUE_UNKNOWN" and "segment 2 of 2" in row["details"]


def test_two_segmentations_of_one_class_need_a_choice(root: Path) -> None:
    study = add_study(root, "CANARY-a")
    other = pydicom.dcmread(study / "seg.dcm")
    other.SeriesInstanceUID, other.SOPInstanceUID, other.SeriesDescription = "1.77", "1.77.1", "second reader"
    other.save_as(study / "other.dcm")
    add_study(root, "CANARY-b")
    assert quarantined(root, series={"t1": "t1*"}) == ["DUPLICATE_CASE"]
    _, cases, excluded, lines = ingest(root, series={"t1": "t1*"}, label="*Reader")
    assert [row["labelled"] for row in cases].count("yes") == 1
    assert len(cases) == 2 and not excluded and "segmentations that data.label does not name: 2" in lines


def test_files_of_label_maps_beside_the_series(root: Path) -> None:
    add_study(root, "CANARY-a", seg=None)
    add_study(root, "CANARY-[b]", seg=None)
    save(root / "labels/CANARY-a.nii.gz", LABELS, AFFINE)
    save(root / "labels/CANARY-[b].nii.gz", LABELS[::-1], AFFINE @ np.diag([-1.0, 1, 1, 1]))
    _, cases, excluded, _ = ingest(root, series={"t1": "t1*"}, label="labels/{patient}.nii.gz")
    assert [row["labelled"] for row in cases] == ["yes"] and [r["code"] for r in excluded] == [
        "GRID_MISMATCH"
    ]
    np.testing.assert_array_equal(label_of(cases[0]), LABELS)


def test_masks_are_segments_that_may_overlap(root: Path) -> None:
    study = add_study(root, "CANARY-a", seg=None)
    masks = ClassList.of_masks({"whole": (1,), "core": (2,)})
    bits = LABELS + (LABELS == 2)
    add_seg(study / "t1", nib.Nifti1Image(bits, AFFINE), study / "seg.dcm", masks)
    add_study(root, "CANARY-b")
    wanted = {"all": "whole", "core": "cor*"}
    work = root.parent / "work"
    data = {**DATA, "series": {"t1": "t1*"}, "masks": wanted, "classes": {}}
    go(root, work, only="ingest", parts={"data": data, "loss": {"name": "bce_dice"}})
    (case,) = files.read_csv(work / "ingest/cases.csv")
    paths = json.loads(case["label"])
    np.testing.assert_array_equal(scans.read(Path(paths["all"])).array[0], bits & 1)
    np.testing.assert_array_equal(scans.read(Path(paths["core"])).array[0], bits >> 1)
    (row,) = files.read_csv(work / "ingest/quarantine.csv")
    assert row["code"] == "MASK_MISSING" and "all" in row["details"]


def test_without_a_patient_each_study_is_a_subject(root: Path) -> None:
    for number in range(2):
        add_study(root, "", number)
    _, cases, _, lines = ingest(root, series={"t1": "t1*"})
    assert len({row["subject"] for row in cases}) == 2 and "cases without PatientID" in lines


def test_a_folder_without_series_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "CANARY").mkdir()
    (tmp_path / "CANARY/x.txt").write_text("x")
    with pytest.raises(MedsegError) as refused:
        ingest(tmp_path / "CANARY")
    assert refused.value.code == Code.NOTHING_USABLE and "CANARY" not in str(refused.value)
