"""Reference files: the voxels of the series they name, or a code where it is not what ingest read."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.io import scans
from medseg.io.dicom import decode, references
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.segments import SegPart
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import enhanced_dataset
from tests.helpers.dicom_subjects import add_seg, add_series
from tests.helpers.scan_files import save

AFFINE = np.diag([-1.0, 1.5, -2.0, 1.0])
LABELS = np.zeros((8, 9, 5), np.uint8)
LABELS[2:6, 3:7, 1:4] = 1
LABELS[3:5, 4:6, 2] = 2
IMAGE = nib.Nifti1Image(np.random.default_rng(0).integers(-1000, 900, LABELS.shape).astype(np.int16), AFFINE)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A series in CANARY/t1, and its SEG."""
    root = tmp_path / "CANARY"
    add_series(root / "t1", IMAGE, series="1.2.1", FrameOfReferenceUID="1.2.9", StudyInstanceUID="1.2")
    add_seg(root / "t1", nib.Nifti1Image(LABELS, AFFINE), root / "seg.dcm")
    return root


def reference(export: Path, *, label: bool = False) -> Path:
    """The path of a reference to the export's only volume, or to the label map of its SEG."""
    path = export.parent / f"private/case_{label}.dicom.json"
    (volume,) = read_export(export).volumes
    parts = [SegPart(DicomFile(export / "seg.dcm"), {1: 1, 2: 2})] if label else []
    references.write(path, volume, parts, background=0 if label else None)
    return path


def code_of(path: Path) -> Code:
    with pytest.raises(MedsegError) as refused:
        scans.read(path)
    assert refused.value.finding.where == str(path) and "CANARY" not in str(refused.value)
    return refused.value.code


def test_a_reference_is_read_like_a_scan(export: Path) -> None:
    volume, label = scans.read(reference(export)), scans.read(reference(export, label=True))
    np.testing.assert_array_equal(volume.array[0], np.asarray(IMAGE.dataobj))
    np.testing.assert_array_equal(label.array[0], LABELS)
    np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-6)
    assert label.grid is not None and np.array_equal(label.grid.affine, volume.grid.affine)


def test_one_volume_of_several_in_a_file(tmp_path: Path) -> None:
    first = np.random.default_rng(1).integers(0, 900, LABELS.shape).astype(np.uint16)
    (tmp_path / "in").mkdir()
    dataset = enhanced_dataset([first, first + 1], AFFINE)
    dataset.save_as(tmp_path / "in/e", enforce_file_format=True)
    for number, volume in enumerate(read_export(tmp_path / "in").volumes):
        path = tmp_path / f"private/{number}.dicom.json"
        references.write(path, volume)
        np.testing.assert_array_equal(scans.read(path).array, decode.read_volume(volume).array)
    one, other = (scans.read(tmp_path / f"private/{n}.dicom.json").array for n in (0, 1))
    assert not np.array_equal(one, other)


def test_entries_of_an_archive(export: Path) -> None:
    expected = scans.read(reference(export)).array
    with zipfile.ZipFile(export / "all.zip", "w") as packed:
        for path in sorted((export / "t1").iterdir()):
            packed.write(path, f"CANARY/{path.name}")
    shutil.rmtree(export / "t1")
    np.testing.assert_array_equal(scans.read(reference(export)).array, expected)


def test_a_label_map_of_its_own_file(export: Path, tmp_path: Path) -> None:
    label = tmp_path / "CANARY.nii.gz"
    save(label, LABELS, AFFINE)
    path = tmp_path / "private/label.dicom.json"
    references.write_file(path, label)
    np.testing.assert_array_equal(scans.read(path).array[0], LABELS)
    save(label, LABELS + 1, AFFINE)
    assert code_of(path) == Code.INPUT_CHANGED
    label.unlink()
    assert code_of(path) == Code.FILE_MISSING


@pytest.mark.parametrize("label", [False, True])
def test_content_that_changed_is_refused(export: Path, label: bool) -> None:
    path = reference(export, label=label)
    file = export / "seg.dcm" if label else sorted((export / "t1").iterdir())[2]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert code_of(path) == Code.INPUT_CHANGED
    file.unlink()
    assert code_of(path) == Code.FILE_MISSING


def test_a_slice_that_became_another_is_refused(export: Path) -> None:
    path = reference(export)
    first, second, *_ = sorted((export / "t1").iterdir())
    shutil.copy(first, second)
    assert code_of(path) == Code.INPUT_CHANGED


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": [["a"]], "instances": [], "sha256": 1}'])
def test_a_file_that_is_no_reference_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.dicom.json"
    path.write_text(content)
    assert code_of(path) == Code.INPUT_CHANGED


def test_a_reference_is_for_its_owner_and_written_once(export: Path) -> None:
    path = reference(export)
    before = path.stat()
    assert (before.st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert reference(export).stat().st_mtime_ns == before.st_mtime_ns
    content = json.loads(path.read_text())
    (export / "t1/000").touch()
    reference(export)
    again = json.loads(path.read_text())
    assert content["stamps"] != again["stamps"] and content["sha256"] == again["sha256"]
