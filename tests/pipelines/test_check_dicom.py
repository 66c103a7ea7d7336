"""`medseg check` on DICOM exports: a verdict for each volume, in words and as JSON, without identity."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medseg.console import Reporter
from medseg.errors import ExitCode
from pipelines.commands import check
from tests.helpers.dicom_files import write_series
from tests.helpers.scan_files import save

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def checked(folder: Path) -> tuple[ExitCode, list[dict[str, Any]], str]:
    """Exit code, JSON and the lines for the user."""
    screen, results = io.StringIO(), io.StringIO()
    ended = check.run(folder, None, Reporter(stream=screen, results=results), as_json=True)
    return ended, json.loads(results.getvalue())["results"], screen.getvalue()


@pytest.fixture
def export(tmp_path: Path, brain: Any) -> Path:
    root = tmp_path / "CANARY"
    pixels = brain.astype(np.uint16)
    write_series(root / "a", pixels, AFFINE, PatientName="CANARY")
    write_series(root / "b", pixels, AFFINE, slices=[0, 1, 3], PatientName="CANARY")
    write_series(root / "c", pixels, AFFINE, slices=[2], Modality="SR", PatientName="CANARY")
    return root


def test_every_volume_has_a_verdict(export: Path) -> None:
    ended, verdicts, screen = checked(export)
    assert ended == ExitCode.SOME_EXCLUDED and "3 inputs: 1 usable, 2 would be excluded" in screen
    usable = next(v for v in verdicts if v["verdict"] == "usable")
    assert (usable["shape"], usable["unit"], usable["files"]) == ([20, 24, 8], "mm", 8)
    np.testing.assert_allclose(usable["affine"], AFFINE, atol=1e-6)
    codes = sorted(f["code"] for v in verdicts for f in v["findings"])
    assert codes == ["NOT_A_SCAN", "SLICES_MISSING"]
    assert "CANARY" not in json.dumps(verdicts) + screen


def test_pixels_are_decoded_too(export: Path) -> None:
    path = sorted((export / "a").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-40])
    ended, verdicts, _ = checked(export)
    assert ended == ExitCode.NOTHING_USABLE
    assert {f["code"] for v in verdicts for f in v["findings"]} >= {"SLICES_MISSING", "NOT_A_SCAN"}


def test_files_beside_an_export_are_checked_one_by_one(export: Path, brain: Any) -> None:
    save(export / "plain.nii.gz", brain)
    _, verdicts, _ = checked(export)
    assert verdicts[-1]["name"] == "scan 1" and verdicts[-1]["verdict"] == "usable"
    assert len(verdicts) == 4


def test_an_archive_can_be_checked_by_itself(export: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((export / "a").iterdir()):
            file.write(path, path.name)
    _, results, _ = checked(archive)
    assert [result["verdict"] for result in results] == ["usable"]


def test_a_note_about_a_file_is_no_usable_input(tmp_path: Path) -> None:
    """A DICOMDIR alone: its files were not copied."""
    directory, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    directory.file_meta = meta
    record = Dataset()
    record.ReferencedFileID = ["IMAGES", "IM0"]
    directory.DirectoryRecordSequence = [record]
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    ended, results, _ = checked(tmp_path)
    assert ended == ExitCode.NOTHING_USABLE
    assert [(result["verdict"], result["code"]) for result in results] == [("note", "DICOMDIR_INCOMPLETE")]


def test_the_report_names_volumes_by_numbers_and_shows_no_burned_in_text(
    export: Path, brain: Any, tmp_path: Path
) -> None:
    pixels = brain.astype(np.uint16)
    write_series(export / "again", pixels, AFFINE, PatientName="CANARY", PatientID="sub-01")
    write_series(export / "burned", pixels + 9, AFFINE, BurnedInAnnotation="YES", PatientID="SUB1")
    screen, results, page = io.StringIO(), io.StringIO(), tmp_path / "page.html"
    check.run(export, None, Reporter(stream=screen, results=results), as_json=True, page=page)
    described = json.loads(results.getvalue())
    kinds = {remark["kind"]: remark for remark in described["remarks"]}
    assert len(kinds["duplicate"]["files"]) == len(kinds["similar names"]["files"]) == 2
    named = {name for remark in kinds.values() for name in remark["files"]}
    assert all(name.startswith("volume ") for name in named)
    shown = page.read_text()
    assert shown.count("<img") == 2 and "<title>Data report</title>" in shown
    assert not any(
        word in shown + screen.getvalue() + results.getvalue() for word in ("CANARY", "SUB1", "sub-01")
    )
