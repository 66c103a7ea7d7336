"""DICOM SEG: the label map comes back from it where it was, by our reader and by others'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io.dicom import seg
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import enhanced_dataset, write_series
from tests.helpers.programs import dcmqi

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "Left thing"})
MASKS = ClassList.of_masks({"whole": (1, 2), "core": (2,)})
SHAPE = (6, 5, 4)
PIXELS = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.uint16)
ALGORITHM = ("demo", "0.1.0")


def _affine(seed: int) -> Array:
    affine = np.eye(4)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    affine[:3, :3] = rotation * (0.5, 2.0, 3.25)
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    return affine


def _volume(folder: Path, affine: Array, **tags: Any) -> SeriesVolume:
    tags = {"FrameOfReferenceUID": "1.2.3.4", **tags}
    write_series(folder, PIXELS, affine, **tags)
    (volume,) = read_export(folder).volumes
    return volume


def _labels(volume: SeriesVolume, seed: int = 0, classes: int = 3) -> Array:
    assert volume.grid is not None
    return np.random.default_rng(seed).integers(0, classes, volume.grid.shape).astype(np.uint8)


def _read(path: Path, volume: SeriesVolume) -> Array:
    assert volume.grid is not None
    return seg.read(path, volume.grid)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["BINARY", "LABELMAP"]))
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: seg.Kind
) -> None:
    folder = tmp_path_factory.mktemp("seg")
    volume = _volume(folder / "in", _affine(seed))
    labels = _labels(volume, seed)
    seg.write(labels, volume, CLASSES, folder / "a.dcm", algorithm=ALGORITHM, kind=kind)
    masks = _read(folder / "a.dcm", volume)
    np.testing.assert_array_equal(masks[0], labels == 1)
    np.testing.assert_array_equal(masks[1], labels == 2)


def test_overlapping_masks_are_segments_of_their_own(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _affine(1))
    bits = _labels(volume, classes=4)
    seg.write(bits, volume, MASKS, tmp_path / "a.dcm", algorithm=ALGORITHM)
    masks = _read(tmp_path / "a.dcm", volume)
    np.testing.assert_array_equal(masks[0], bits & 1 == 1)
    np.testing.assert_array_equal(masks[1], bits >> 1 & 1 == 1)
    with pytest.raises(MedsegError, match="overlap") as refused:
        seg.write(bits, volume, MASKS, tmp_path / "b.dcm", algorithm=ALGORITHM, kind="LABELMAP")
    assert refused.value.code == Code.SEG_IMPOSSIBLE


def test_one_time_point_of_an_enhanced_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tags = {"FrameOfReferenceUID": "1.2.3.4"}
    enhanced_dataset([PIXELS, PIXELS + 1], _affine(2), **tags).save_as(
        tmp_path / "in/e", enforce_file_format=True
    )
    volume = read_export(tmp_path / "in").volumes[1]
    labels = _labels(volume)
    seg.write(labels, volume, CLASSES, tmp_path / "a.dcm", algorithm=ALGORITHM)
    np.testing.assert_array_equal(_read(tmp_path / "a.dcm", volume)[0], labels == 1)


def test_the_same_labels_give_the_same_bytes_and_others_other_instances(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _affine(3), ContentDate="20200102", ContentTime="030405")
    labels = _labels(volume)
    for name in ("a", "b"):
        seg.write(labels, volume, CLASSES, tmp_path / name, algorithm=ALGORITHM)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    labels[0, 0, 0] = 1 - labels[0, 0, 0] % 2
    seg.write(labels, volume, CLASSES, tmp_path / "c", algorithm=ALGORITHM)
    one, other = (pydicom.dcmread(tmp_path / name) for name in ("a", "c"))
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.ContentDate == "20200102"


def test_codes_names_algorithm_and_source_are_in_it(tmp_path: Path) -> None:
    volume = _volume(
        tmp_path / "in", _affine(4), PatientName="Müller^Anna", SpecificCharacterSet="ISO_IR 192"
    )
    seg.write(_labels(volume), volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
    dataset = pydicom.dcmread(tmp_path / "a")
    csf, other = dataset.SegmentSequence
    assert (csf.SegmentLabel, other.SegmentLabel) == ("csf", "Left thing")
    kind = csf.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("65216001", "SCT")
    assert other.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99MEDSEG"
    assert csf.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "demo"
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == volume.header.series_uid
    assert str(dataset.PatientName) == "Müller^Anna"


@pytest.mark.parametrize("what", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_slices_of_several_studies_or_frames_of_reference_carry_no_seg(tmp_path: Path, what: str) -> None:
    tags = {"FrameOfReferenceUID": "1.2.3.4", "StudyInstanceUID": "1.2"}
    for n in range(3):  # a UID for each file is a writer's fault; two in all are two series
        own = {**tags, what: f"1.7.{n}"}
        write_series(tmp_path / "in", PIXELS, _affine(5), series="1.9", slices=[n], prefix=f"{n}", **own)
    (volume,) = read_export(tmp_path / "in").volumes
    assert volume.grid is not None and "3 different" in volume.no_seg
    with pytest.raises(MedsegError) as refused:
        seg.write(_labels(volume), volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
    assert refused.value.code == Code.SEG_IMPOSSIBLE and not (tmp_path / "a").exists()


def test_empty_label_maps_and_other_shapes_are_refused(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _affine(6))
    for labels in (np.zeros(SHAPE, np.uint8), np.ones((2, 2, 2), np.uint8)):
        with pytest.raises(MedsegError) as refused:
            seg.write(labels, volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
        assert refused.value.code == Code.SEG_IMPOSSIBLE


def test_a_seg_that_reads_back_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = _volume(tmp_path / "in", _affine(7))
    read = seg.read
    monkeypatch.setattr(seg, "read", lambda *a: np.roll(read(*a), 1, axis=1))
    with pytest.raises(MedsegError, match="read back") as refused:
        seg.write(_labels(volume), volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
    assert refused.value.code == Code.SEG_FAILED and not (tmp_path / "a").exists()


def test_a_seg_of_another_place_is_refused(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _affine(8))
    seg.write(_labels(volume), volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
    assert volume.grid is not None
    moved = volume.grid.affine.copy()
    moved[:3, 3] += 0.02
    with pytest.raises(MedsegError) as refused:
        seg.read(tmp_path / "a", Grid(volume.grid.shape, moved))
    assert refused.value.code == Code.GRID_MISMATCH
    (tmp_path / "b").write_bytes(b"no SEG")
    with pytest.raises(MedsegError) as refused:
        seg.read(tmp_path / "b", volume.grid)
    assert refused.value.code == Code.DICOM_DAMAGED


def _dice_and_distance(path: Path, truth: Array, affine: Array) -> tuple[float, float]:
    """Dice of another program's NIfTI mask with the truth, and the distance of their centroids in mm."""
    image = nib.load(path)
    mask = np.asarray(image.dataobj) > 0
    where = np.argwhere(truth) @ affine[:3, :3].T + affine[:3, 3]
    theirs = image.affine
    index = np.rint((where - theirs[:3, 3]) @ np.linalg.inv(theirs[:3, :3]).T).astype(int)
    inside = ((index >= 0) & (index < mask.shape)).all(axis=1)
    hits = np.count_nonzero(mask[tuple(index[inside].T)])
    centroid = np.argwhere(mask).mean(axis=0) @ theirs[:3, :3].T + theirs[:3, 3]
    distance = float(np.linalg.norm(centroid - where.mean(axis=0)))
    return 2 * hits / (truth.sum() + mask.sum()), distance


@pytest.mark.parametrize("seed", range(4))
def test_dcmqi_finds_the_same_voxels_in_space(tmp_path: Path, seed: int) -> None:
    volume = _volume(tmp_path / "in", _affine(seed))
    labels = _labels(volume, seed)
    seg.write(labels, volume, CLASSES, tmp_path / "a.dcm", algorithm=ALGORITHM)
    (tmp_path / "out").mkdir()
    arguments = ["--inputDICOM", tmp_path / "a.dcm", "--outputDirectory", tmp_path / "out"]
    dcmqi("segimage2itkimage", *arguments, "--outputType", "nii")
    assert volume.grid is not None
    for number in (1, 2):
        path = tmp_path / f"out/{number}.nii.gz"
        dice, distance = _dice_and_distance(path, labels == number, volume.grid.affine)
        assert dice == 1.0 and distance < 0.01
