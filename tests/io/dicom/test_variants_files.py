"""Variants of stored pixels, enhanced files and files beside: right, or refused by the right code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from medseg.errors import Code
from medseg.grid import Array
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import enhanced_dataset, slice_dataset, write_series

AFFINE = np.array([[-1.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
FIRST = np.random.default_rng(0).integers(1, 4000, (6, 5, 8)).astype(np.uint16)
SECOND = FIRST + 100


def _write(folder: Path, change: Callable[[int, FileDataset], None]) -> None:
    for index in range(FIRST.shape[2]):
        dataset = slice_dataset(FIRST, AFFINE, index, series="1.2.9")
        change(index, dataset)
        pydicom.dcmwrite(folder / f"{index}", dataset, enforce_file_format=True)


def _only(folder: Path) -> Array:
    (volume,) = read_export(folder).volumes
    assert volume.grid is not None and np.allclose(volume.grid.affine, AFFINE, atol=1e-6)
    array: Array = read_volume(volume).array[0]
    return array


def _float(index: int, dataset: FileDataset) -> None:
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.BitsAllocated, dataset.FloatPixelData = 32, FIRST[:, :, index].T.astype(np.float32).tobytes()


def _big_endian(index: int, dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = FIRST[:, :, index].T.astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _deflated(_: int, dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("change", [_float, _big_endian, _deflated])
def test_encodings_give_the_same_values(tmp_path: Path, change: Callable[[int, FileDataset], None]) -> None:
    _write(tmp_path, change)
    assert (_only(tmp_path) == FIRST).all()


def test_a_slope_that_is_no_number_is_not_taken_for_1(tmp_path: Path) -> None:
    for path in write_series(tmp_path, FIRST, AFFINE, RescaleSlope="2.500", RescaleIntercept="0"):
        path.write_bytes(path.read_bytes().replace(b"2.500", b"2,500"))
    export = read_export(tmp_path)
    assert export.volumes == () and {finding.code for _, finding in export.findings} == {Code.DICOM_DAMAGED}


def test_empty_and_misnamed_files_have_a_row(tmp_path: Path) -> None:
    """A slice may have been lost there: at the end of a stack nothing else would tell."""
    write_series(tmp_path, FIRST, AFFINE)
    (tmp_path / "IM8").write_bytes(b"")
    (tmp_path / "IM9.dcm").write_bytes(b"")
    (tmp_path / "page.DCM").write_text("<html>" * 90)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    (tmp_path / "empty.txt").write_bytes(b"")
    export = read_export(tmp_path)
    assert {(file.path.name, finding.code) for file, finding in export.findings} == {
        ("IM8", Code.DICOM_EMPTY),
        ("IM9.dcm", Code.DICOM_EMPTY),
        ("page.DCM", Code.DICOM_DAMAGED),
    }
    assert {file.path.name for file in export.others} == {"photo.jpg", "empty.txt"}


def test_links_in_a_circle_have_a_row_and_end_nothing(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    export = read_export(tmp_path)
    assert len(export.volumes) == 1
    assert [(file.path.name, finding.code) for file, finding in export.findings] == [
        ("itself", Code.FILE_UNREADABLE)
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_has_a_row(tmp_path: Path) -> None:
    write_series(tmp_path / "closed", FIRST, AFFINE)
    (tmp_path / "closed").chmod(0)
    try:
        ((file, finding),) = read_export(tmp_path).findings
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert (file.path.name, finding.code) == ("closed", Code.FILE_UNREADABLE)


def _enhanced(folder: Path, volumes: Sequence[Array], change: Callable[[int, Dataset], None]) -> None:
    """An enhanced file whose frames are shuffled after ``change`` saw each one's groups."""
    dataset = enhanced_dataset(volumes, AFFINE)
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    for index, own in enumerate(groups):
        change(index, own)
    order = np.random.default_rng(5).permutation(len(groups))
    frames = np.frombuffer(dataset.PixelData, np.uint16).reshape(len(groups), dataset.Rows, dataset.Columns)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence([groups[n] for n in order])
    dataset.PixelData = frames[order].tobytes()
    dataset.save_as(folder / "enhanced", enforce_file_format=True)


def _item(**tags: object) -> DicomSequence:
    item = Dataset()
    item.update(tags)
    return DicomSequence([item])


def test_shuffled_frames_lie_where_their_positions_say(tmp_path: Path) -> None:
    _enhanced(tmp_path, [FIRST], lambda index, own: None)
    assert (_only(tmp_path) == FIRST).all()


def test_frames_are_told_apart_by_dimension_index_alone(tmp_path: Path) -> None:
    def change(index: int, own: Dataset) -> None:
        own.FrameContentSequence = _item(DimensionIndexValues=[1, index % 8 + 1, index // 8 + 1])

    _enhanced(tmp_path, [FIRST, SECOND], change)
    volumes = {v.label: read_volume(v).array[0] for v in read_export(tmp_path).volumes}
    assert sorted(volumes) == ["dimension 3 1", "dimension 3 2"]
    assert (volumes["dimension 3 1"] == FIRST).all() and (volumes["dimension 3 2"] == SECOND).all()


def test_two_stacks_of_other_directions_are_two_volumes(tmp_path: Path) -> None:
    def change(index: int, own: Dataset) -> None:
        if index >= 8:
            own.PlaneOrientationSequence = _item(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
            own.PlanePositionSequence = _item(ImagePositionPatient=[0, 3 * (index - 8), 0])

    _enhanced(tmp_path, [FIRST, SECOND], change)
    arrays = [read_volume(volume).array[0] for volume in read_export(tmp_path).volumes]
    assert len(arrays) == 2
    assert any((array == FIRST).all() for array in arrays) and any((a == SECOND).all() for a in arrays)


def test_pixel_spacings_that_change_within_a_file_are_refused(tmp_path: Path) -> None:
    def change(index: int, own: Dataset) -> None:
        own.PixelMeasuresSequence = _item(PixelSpacing=[2, 1] if index < 5 else [2.2, 1])

    _enhanced(tmp_path, [FIRST], change)
    (volume,) = read_export(tmp_path).volumes
    assert volume.refusal is not None and volume.refusal.code == Code.SLICES_DIFFER
    assert "3 of 8" in volume.refusal.details


def test_fewer_places_than_frames_are_damage(tmp_path: Path) -> None:
    dataset = enhanced_dataset([FIRST], AFFINE)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(
        list(dataset.PerFrameFunctionalGroupsSequence)[:6]
    )
    dataset.save_as(tmp_path / "enhanced", enforce_file_format=True)
    ((_, finding),) = read_export(tmp_path).findings
    assert finding.code == Code.DICOM_DAMAGED and "8 frames, and a place in space for 6" in finding.details


def _signed(index: int, dataset: FileDataset) -> None:
    if index == 1:
        dataset.PixelRepresentation = 1
        dataset.PixelData = (FIRST[:, :, 1].T.astype(np.int16) - 7).tobytes()


def _narrow(index: int, dataset: FileDataset) -> None:
    if index == 0:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = (FIRST[:, :, 0].T % 256).astype(np.uint8).tobytes()


def test_slices_that_are_stored_in_several_ways_keep_their_values(tmp_path: Path) -> None:
    for name in ("signed", "narrow"):
        (tmp_path / name).mkdir()
    _write(tmp_path / "signed", _signed)
    expected = FIRST.astype(np.int64)
    expected[:, :, 1] -= 7
    np.testing.assert_array_equal(_only(tmp_path / "signed"), expected)
    _write(tmp_path / "narrow", _narrow)
    expected = FIRST.astype(np.int64)
    expected[:, :, 0] %= 256
    np.testing.assert_array_equal(_only(tmp_path / "narrow"), expected)
