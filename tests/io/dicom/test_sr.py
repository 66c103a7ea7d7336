"""Structured reports: each segment's volume, readable by others, the same bytes for the same content."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.io.dicom import seg, sr
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import write_series

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


def test_dciodvfy_finds_no_error(volume: SeriesVolume, tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    ended = subprocess.run(
        [program, _write(volume, tmp_path, "a")], capture_output=True, text=True, check=False
    )
    assert not [line for line in ended.stderr.splitlines() if line.startswith("Error")]
