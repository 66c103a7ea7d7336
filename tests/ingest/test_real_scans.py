"""Readers, layouts, checks and writer on real scans."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.errors import Code
from medseg.ingest import checks, layouts, splits
from medseg.io import nifti, scans

pytestmark = pytest.mark.data

TISSUES = ClassList.from_names({0: "background", 1: "CSF", 2: "GM", 3: "WM"})
TWO = ClassList.from_names({0: "background", 1: "cord"})
IBSR = ({"t1": "{case}/{case}.nii.gz"}, "{case}/{case}_seg.nii.gz")

ODD: list[tuple[str, set[Code], Code | None]] = [
    ("bigendian_float32_nibabel.nii", {Code.BIG_ENDIAN}, None),
    ("bigendian_int16_nibabel_anatomical.nii", {Code.BIG_ENDIAN, Code.FLIPPED}, None),
    (
        "contains_nan_bigendian_nibabel_resampled_anat_moved.nii",
        {Code.BIG_ENDIAN, Code.FLIPPED},
        Code.NAN_OR_INF,
    ),
    ("coronal_oblique_4d_dcmqa.nii", set(), Code.FOUR_D),
    ("hippocampus_010_label_without_image.nii.gz", set(), None),
    ("hippocampus_118_image_without_label.nii.gz", set(), None),
    ("made_by_us_truncated_gz_IBSR_01.nii.gz", set(), Code.TRUNCATED),
    ("nifti2_nibabel_example.nii.gz", set(), Code.FOUR_D),
    ("oblique_4d_nibabel_example4d.nii.gz", set(), Code.FOUR_D),
    ("qform_only_sform0_ANTsPy_ch2.nii.gz", {Code.ONE_FORM}, None),
    ("rgb24_RNifti_example.nii.gz", set(), Code.NOT_SCALAR),
    ("sagittal_4d_dcmqa.nii", set(), Code.FOUR_D),
    ("slope_inter_int16_4d_nibabel_functional.nii", set(), Code.FOUR_D),
    ("slope_uint8_oblique_MR_Gd.nii.gz", {Code.SCALED, Code.OBLIQUE}, None),
    ("slope_uint8_oblique_fmri_pitch.nii.gz", {Code.SCALED, Code.OBLIQUE}, None),
]


@pytest.mark.parametrize(("name", "notes", "refusal"), ODD, ids=[row[0] for row in ODD])
def test_odd_files(data: Path, name: str, notes: set[Code], refusal: Code | None) -> None:
    image, findings = checks.read_image({"image": data / "odd_nifti" / name})
    assert {finding.code for finding in findings if finding.is_note} == notes
    assert [finding.code for finding in findings if not finding.is_note] == ([refusal] if refusal else [])
    assert (image is None) == (refusal is not None)


def test_all_odd_files_are_in_the_table(data: Path) -> None:
    found = layouts.find(data / "odd_nifti")
    assert sorted(path.name for case in found.cases for path in case.channels.values()) == [
        row[0] for row in ODD
    ]


def test_ibsr(data: Path) -> None:
    found = layouts.find(data / "ibsr18", "patterns", *IBSR)
    assert len(found.cases) == 13
    assert [case.name[5:] for case in found.cases if case.label is None] == ["02", "10", "15"]
    assert (found.strays, found.ignored) == ([], [])
    assert layouts.find(data / "ibsr18").cases[0].label == found.cases[0].label


def test_ibsr_case(data: Path) -> None:
    found = layouts.find(data / "ibsr18", "patterns", *IBSR)
    case, findings = checks.read_case(found.cases[0], TISSUES)
    assert case is not None
    assert case.label is not None
    assert case.image.array.shape == (1, 256, 128, 256)
    assert case.image.array.dtype == np.int16
    assert case.image.grid.spacing == pytest.approx((0.9375, 1.5, 0.9375))
    counts = np.bincount(case.label.array.ravel(), minlength=4)
    truth = np.asanyarray(nib.load(found.cases[0].label).dataobj)
    np.testing.assert_array_equal(counts, np.bincount(truth.ravel(), minlength=4))
    expected = {Code.SINGLETON_AXIS, Code.ZERO_PIXEL_SIZE, Code.ONE_FORM}
    assert {finding.code for finding in findings} == expected


def test_ibsr_label_map_is_written_on_the_scans_own_grid(data: Path, tmp_path: Path) -> None:
    path = data / "ibsr18" / "IBSR_01" / "IBSR_01.nii.gz"
    scan = scans.read(path)
    nifti.write(scan.with_array((scan.array > 0).astype(np.uint8)), tmp_path / "out.nii.gz")
    before, after = nib.load(path), nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(before.affine, after.affine)
    assert after.shape == (256, 128, 256)
    for code in ("qform_code", "sform_code", "xyzt_units"):
        assert before.header[code] == after.header[code]


def test_ibsr_fixed_split(data: Path) -> None:
    cases = layouts.find(data / "ibsr18", "patterns", *IBSR).cases
    fold = {
        "train": ["IBSR_01", "IBSR_03", "IBSR_05", "IBSR_07", "IBSR_08", "IBSR_16"],
        "val": ["IBSR_04", "IBSR_09"],
        "test": ["IBSR_06", "IBSR_18"],
    }
    result = splits.given(cases, [fold])
    roles = [row.role for row in result.rows]
    assert [roles.count(role) for role in ("train", "val", "test", "unlabelled")] == [6, 2, 2, 3]
    assert result.left_out == ()


def test_hippocampus(data: Path) -> None:
    root = data / "hippocampus"
    guess = layouts.guess(root)
    assert (guess.layout, guess.n_cases, guess.n_labelled) == ("decathlon", 200, 200)
    assert guess.classes == {0: "background", 1: "Anterior", 2: "Posterior"}
    cases = layouts.find(root).cases
    ranges = {
        "train": ["hippocampus_001..hippocampus_207"],
        "val": ["hippocampus_210..hippocampus_249"],
        "test": ["hippocampus_250..hippocampus_310"],
    }
    roles = [row.role for row in splits.given(cases, [ranges]).rows]
    assert [roles.count(role) for role in ("train", "val", "test")] == [130, 30, 40]
    assert checks.label_values([case.label for case in cases[:3] if case.label]) == [0, 1, 2]
    classes = ClassList.from_names(guess.classes or {})
    for case_files in cases[::20]:
        case, findings = checks.read_case(case_files, classes)
        assert case is not None, findings


def test_hippocampus_with_a_label_and_an_image_too_many(data: Path, tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        shutil.copy(data / "hippocampus" / folder / "hippocampus_001.nii.gz", tmp_path / folder)
    shutil.copy(data / "hippocampus" / "dataset.json", tmp_path / "dataset.json")
    odd = data / "odd_nifti"
    label, image = "hippocampus_010_label_without_image.nii.gz", "hippocampus_118_image_without_label.nii.gz"
    shutil.copy(odd / label, tmp_path / "labelsTr" / "hippocampus_010.nii.gz")
    shutil.copy(odd / image, tmp_path / "imagesTr" / "hippocampus_118.nii.gz")
    found = layouts.find(tmp_path)
    assert [(case.name, case.label is None) for case in found.cases] == [
        *(("hippocampus_001", False), ("hippocampus_118", True)),
    ]
    codes = {stray.case: stray.code for stray in found.strays}
    assert codes["hippocampus_010"] is Code.LABEL_WITHOUT_IMAGE
    assert len(found.strays) == 200  # and the 199 listed images that were not copied
    assert set(codes.values()) == {Code.LABEL_WITHOUT_IMAGE, Code.FILE_MISSING}


def test_bids_with_labels(data: Path) -> None:
    found = layouts.find(data / "bids_spine")
    assert [(case.name, case.label is not None) for case in found.cases] == [
        *(("sub-unf01", True), ("sub-unf02", False)),
    ]
    for case_files in found.cases:
        case, findings = checks.read_case(case_files, TWO)
        assert case is not None
        assert {finding.code for finding in findings} == {Code.ONE_FORM, Code.OBLIQUE}


def test_bids_contrasts_on_one_grid_are_channels_and_on_three_are_not(data: Path) -> None:
    channels = {kind: f"{{subject}}/**/anat/{{case}}_{kind}" for kind in ("T1w", "T2w", "T2star")}
    first, second = layouts.find(data / "bids_spine", "bids", channels).cases
    image, _ = checks.read_image(first.channels)
    assert image is not None
    assert image.array.shape[0] == 3
    _, findings = checks.read_image(second.channels)
    assert {f.code for f in findings if not f.is_note} == {Code.GRID_MISMATCH}


def test_bids_lesion_off_the_grid_and_label_without_image(data: Path) -> None:
    lesion = "derivatives/labels/{subject}/**/anat/{case}_T1w_lesion-manual"
    first = layouts.find(data / "bids_spine", "bids", label=lesion).cases[0]
    _, findings = checks.read_case(first, TWO)
    refusals = [finding for finding in findings if not finding.is_note]
    assert [finding.code for finding in refusals] == [Code.GRID_MISMATCH]
    assert "0.583 mm" in refusals[0].details
    disc = "derivatives/labels/{subject}/**/anat/{case}_T1w_labels-disc-manual"
    strays = layouts.find(data / "bids_spine", "bids", label=disc).strays
    assert [(stray.case, stray.code) for stray in strays] == [("sub-unf03", Code.LABEL_WITHOUT_IMAGE)]


def test_bids_without_labels(data: Path) -> None:
    guess = layouts.guess(data / "bids_depression")
    assert (guess.layout, guess.n_cases, guess.n_labelled, guess.label) == ("bids", 2, 0, None)
    volume = scans.read(data / "bids_depression" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert [note.details for note in volume.notes] == ["axes LAS"]


def test_whole_heads(data: Path) -> None:
    found = layouts.find(data / "whole_head")
    angles = {}
    for case in found.cases:
        image, findings = checks.read_image(case.channels)
        assert image is not None
        angles[case.name] = [finding.details for finding in findings if finding.code is Code.OBLIQUE]
    assert angles["chris_PD"] == ["rotated by 8.6°"]
    assert len(angles) == 4


def test_two_channels_and_a_scaled_mask(data: Path) -> None:
    root = data / "brats_pat0006"
    paths = layouts.CaseFiles(
        *("pat0006", "pat0006"),
        {"flair": root / "Flair_subtrMeanDivStd.nii.gz", "t1c": root / "T1c_subtrMeanDivStd.nii.gz"},
        root / "OTMultiClass.nii.gz",
    )
    case, _ = checks.read_case(paths, ClassList.from_names({i: str(i) for i in range(5)}))
    assert case is not None
    assert case.image.array.shape == (2, 240, 240, 155)
    mask, findings = checks.read_label(root / "brainmask.nii.gz", TWO, case.image.grid)
    assert mask is not None
    assert Code.SCALED in {finding.code for finding in findings}
    assert set(np.unique(mask.array)) == {0, 1}
