"""Structured reports: each segment's volume, readable by others, the same bytes for the same content."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from medseg import files
from medseg.classes import ClassList
from medseg.coding import ClassCodes, CodedName
from medseg.errors import Code, MedsegError
from medseg.io.dicom import seg, sr
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import write_series
from tests.helpers.programs import dcmqi

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})
ALGORITHM = ("demo", "0.1.0")
SIZES = {"csf": 1.25, "gm": 620.5}


@pytest.fixture
def volume(tmp_path: Path) -> SeriesVolume:
    pixels = np.zeros((6, 5, 4), np.uint16)
    tags = {"FrameOfReferenceUID": "1.2.3", "PatientSex": "O", "PatientID": "1", "ContentDate": "20200102"}
    write_series(tmp_path / "in", pixels, np.diag([1.0, 2.0, 3.0, 1.0]), **tags)
    (found,) = read_export(tmp_path / "in").volumes
    labels = np.random.default_rng(0).integers(0, 3, (6, 5, 4)).astype(np.uint8)
    seg.write(labels, found, CLASSES, tmp_path / "seg.dcm", algorithm=ALGORITHM)
    return found


def _write(volume: SeriesVolume, tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    sr.write(SIZES, tmp_path / "seg.dcm", volume, CLASSES, path, algorithm=ALGORITHM)
    return path


def test_each_segments_volume_is_a_measurement_of_it(volume: SeriesVolume, tmp_path: Path) -> None:
    report = hd.sr.srread(_write(volume, tmp_path, "sr.dcm"))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["csf", "gm"]
    assert [group.get_measurements()[0].value for group in groups] == [1.25, 620.5]
    assert {group.get_measurements()[0].unit.value for group in groups} == {"ml"}
    assert groups[0].finding_type.value == "65216001"
    numbers = [int(group.referenced_segment.referenced_segment_numbers[0]) for group in groups]
    assert numbers == [1, 2]


def test_the_same_content_gives_the_same_bytes(volume: SeriesVolume, tmp_path: Path) -> None:
    one, other = (_write(volume, tmp_path, name) for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


def test_a_seg_that_is_none_is_refused(volume: SeriesVolume, tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as refused:
        sr.write({"csf": 1.0}, tmp_path / "seg.dcm", volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
    assert refused.value.code == Code.SEG_IMPOSSIBLE and not (tmp_path / "a").exists()


def test_dcmqi_reads_the_volumes_and_their_segments(volume: SeriesVolume, tmp_path: Path) -> None:
    dcmqi(
        "tid1500reader",
        "--inputDICOM",
        _write(volume, tmp_path, "a"),
        "--outputMetadata",
        tmp_path / "a.json",
    )
    measurements = files.read_json(tmp_path / "a.json")["Measurements"]
    assert [group["TrackingIdentifier"] for group in measurements] == ["csf", "gm"]
    assert [group["ReferencedSegment"] for group in measurements] == [1, 2]
    assert [float(group["measurementItems"][0]["value"]) for group in measurements] == [1.25, 620.5]
    assert {group["measurementItems"][0]["units"]["CodeValue"] for group in measurements} == {"ml"}
    assert measurements[0]["Finding"]["CodeValue"] == "65216001"


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_class_without_a_voxel_is_measured_too(
    volume: SeriesVolume, tmp_path: Path, kind: seg.Kind
) -> None:
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[2, 2, 1] = 2
    seg.write(labels, volume, CLASSES, tmp_path / "seg.dcm", algorithm=ALGORITHM, kind=kind)
    report = hd.sr.srread(_write(volume, tmp_path, "sr.dcm"))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [int(g.referenced_segment.referenced_segment_numbers[0]) for g in groups] == [1, 2]


@pytest.mark.parametrize(
    ("code", "place"), [("7771000", "laterality"), ("255549009", "topographical_modifier")]
)
def test_a_modifier_is_the_side_or_the_part_of_the_finding_site(
    volume: SeriesVolume, tmp_path: Path, code: str, place: str
) -> None:
    hippocampus = CodedName("5366008", "Hippocampus")
    classes = CLASSES.with_codes({"gm": ClassCodes(hippocampus, modifier=CodedName(code, "a place"))})
    path = tmp_path / "sr.dcm"
    sr.write(SIZES, tmp_path / "seg.dcm", volume, classes, path, algorithm=ALGORITHM)
    groups = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    (site,) = groups[1].finding_sites
    assert site.value.value == "5366008" and getattr(site, place).value == code
    assert not groups[0].finding_sites
