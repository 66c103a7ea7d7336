"""Series that hold several volumes, copies of instances, files of other kinds."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless

from medseg.errors import Code, MedsegError
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import enhanced_dataset, slice_dataset, write_series

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
FIRST, SECOND = np.random.default_rng(0).integers(1, 4000, (2, 5, 4, 3)).astype(np.uint16)


def _volumes(folder: Path) -> dict[str, np.ndarray]:
    return {v.label: read_volume(v).array[0] for v in read_export(folder).volumes}


def _right(array: np.ndarray, expected: np.ndarray) -> bool:
    """A volume on AFFINE as DICOM's axes give it: columns run left and rows back in RAS as here."""
    return array.shape == expected.shape and bool((array == expected).all())


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ({"EchoTime": 10}, {"EchoTime": 20.5}, ["echo time (ms) 10", "echo time (ms) 20.5"]),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "M"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
            ["component magnitude", "component phase"],
        ),
        (
            {"DiffusionBValue": 0.0},
            {"DiffusionBValue": 1000.0},
            ["b-value (s/mm²) 0", "b-value (s/mm²) 1000"],
        ),
        (
            {"TemporalPositionIdentifier": 1},
            {"TemporalPositionIdentifier": 2},
            ["time point 1", "time point 2"],
        ),
        ({"AcquisitionNumber": 3}, {"AcquisitionNumber": 4}, ["acquisition 3", "acquisition 4"]),
        ({"AcquisitionTime": "101010"}, {"AcquisitionTime": "101020"}, None),
    ],
)
def test_a_series_of_two_volumes(tmp_path: Path, first: dict, second: dict, labels: list[str] | None) -> None:
    write_series(tmp_path, FIRST, AFFINE, series="1.2.3", prefix="a", **first)
    write_series(tmp_path, SECOND, AFFINE, series="1.2.3", prefix="b", **second)
    volumes = _volumes(tmp_path)
    assert len(volumes) == 2 and (labels is None or list(volumes) == labels)
    one, other = volumes.values()
    assert _right(one, FIRST) and _right(other, SECOND)


def test_repetitions_without_a_tag_go_by_instance_number(tmp_path: Path) -> None:
    for index in range(3):
        for repetition, pixels in enumerate((FIRST, SECOND)):
            number = 2 * index + repetition
            dataset = slice_dataset(pixels, AFFINE, index, series="1.2.3", InstanceNumber=number)
            dataset.save_as(tmp_path / f"{number}", enforce_file_format=True)
    volumes = _volumes(tmp_path)
    assert list(volumes) == ["repetition 1", "repetition 2"]
    assert _right(volumes["repetition 1"], FIRST) and _right(volumes["repetition 2"], SECOND)


def test_an_interrupted_volume_is_refused_beside_its_whole_ones(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE, series="1.2.3", prefix="a", TemporalPositionIdentifier=1)
    write_series(
        tmp_path, SECOND, AFFINE, series="1.2.3", prefix="b", slices=[0, 1], TemporalPositionIdentifier=2
    )
    whole, cut = read_export(tmp_path).volumes
    assert whole.grid is not None and cut.refusal is not None
    assert cut.refusal.code == Code.VOLUME_INCOMPLETE and "2 of the 3 slices" in cut.refusal.details


def test_an_enhanced_file_of_two_time_points(tmp_path: Path) -> None:
    enhanced_dataset([FIRST, SECOND], AFFINE).save_as(tmp_path / "e", enforce_file_format=True)
    volumes = _volumes(tmp_path)
    assert list(volumes) == ["time point 1", "time point 2"]
    assert _right(volumes["time point 1"], FIRST) and _right(volumes["time point 2"], SECOND)


def test_a_copy_is_used_once_and_told(tmp_path: Path) -> None:
    paths = write_series(tmp_path, FIRST, AFFINE)
    (tmp_path / "copy").write_bytes(paths[0].read_bytes())
    (volume,) = read_export(tmp_path).volumes
    assert volume.grid is not None and [n.code for n in volume.notes] == [Code.DUPLICATE_INSTANCE]


def test_one_instance_with_two_contents_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE, series="1.2.3")
    same = next(iter(read_export(tmp_path).volumes)).frames[0].instance_uid
    slice_dataset(SECOND, AFFINE, 0, series="1.2.3", uid=same).save_as(
        tmp_path / "x", enforce_file_format=True
    )
    (volume,) = read_export(tmp_path).volumes
    assert volume.refusal is not None and volume.refusal.code == Code.INSTANCES_DIFFER


def test_files_inside_zip_and_gzip_without_suffix_or_preamble(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "plain", FIRST, AFFINE)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(paths[0], "deep/below/a")
    (tmp_path / "b.dcm.gz").write_bytes(gzip.compress(paths[1].read_bytes()))
    (tmp_path / "c").write_bytes(paths[2].read_bytes()[132:])
    for path in paths:
        path.unlink()
    (tmp_path / "notes.txt").write_text("not DICOM")
    export = read_export(tmp_path)
    (volume,) = export.volumes
    assert _right(read_volume(volume).array[0], FIRST)
    assert [file.path.name for file in export.others] == ["notes.txt"]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_pixels_are_the_same(tmp_path: Path, syntax: str) -> None:
    for index in range(3):
        dataset = slice_dataset(FIRST, AFFINE, index, series="1.2.3")
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(tmp_path / f"{index}", enforce_file_format=True)
    assert _right(_volumes(tmp_path)[""], FIRST)


def test_each_frame_has_its_own_slope(tmp_path: Path) -> None:
    for index, slope in enumerate((0.5, 2.0, 1.0)):
        tags = {"RescaleSlope": slope, "RescaleIntercept": -7}
        dataset = slice_dataset(FIRST, AFFINE, index, series="1.2.3", **tags)
        dataset.save_as(tmp_path / f"{index}", enforce_file_format=True)
    expected = FIRST * np.array([0.5, 2.0, 1.0]) - 7
    assert _right(_volumes(tmp_path)[""], expected.astype(np.float32))


def test_bright_is_high_in_monochrome1(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE, PhotometricInterpretation="MONOCHROME1")
    assert _right(_volumes(tmp_path)[""], 65_535 - FIRST)


def test_whole_intercepts_keep_integers(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE, RescaleSlope=1, RescaleIntercept=-1024)
    array = _volumes(tmp_path)[""]
    assert array.dtype == np.int32 and _right(array, FIRST.astype(int) - 1024)


def test_what_is_no_scan_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE, Modality="RTDOSE")
    export = read_export(tmp_path)
    assert not export.volumes and {f.code for _, f in export.findings} == {Code.NOT_A_SCAN}


def test_colour_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    (volume,) = read_export(tmp_path).volumes
    assert volume.refusal is not None and volume.refusal.code == Code.NOT_SCALAR


def test_cut_pixels_are_damaged_and_so_is_cut_compression(tmp_path: Path) -> None:
    paths = write_series(tmp_path, FIRST, AFFINE)
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    (volume,) = read_export(tmp_path).volumes
    with pytest.raises(MedsegError) as refused:
        read_volume(volume)
    assert refused.value.code == Code.DICOM_DAMAGED
    (tmp_path / "z.gz").write_bytes(gzip.compress(paths[1].read_bytes())[:-40])
    assert {f.code for _, f in read_export(tmp_path).findings} == {Code.TRUNCATED}


def test_too_many_voxels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    write_series(tmp_path, FIRST, AFFINE)
    (volume,) = read_export(tmp_path).volumes
    with pytest.raises(MedsegError) as refused:
        read_volume(volume, max_voxels=10)
    assert refused.value.code == Code.TOO_LARGE
