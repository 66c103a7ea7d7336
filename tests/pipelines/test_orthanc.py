"""A real Orthanc: studies fetched from it, results sent to it by STOW-RS and C-STORE, and equal there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.policy import HTTP
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from medseg import files
from medseg.errors import ExitCode
from tests.helpers import orthanc
from tests.helpers.commands import Ended, run_command
from tests.helpers.dicom_files import write_series
from tests.helpers.orthanc import PASSWORD, USER, Orthanc

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(bool(orthanc.absent()), reason=orthanc.absent() or "Orthanc is there"),
]

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -12], [0, 0, -2, 5], [0, 0, 0, 1]])
CANARY = {"PatientName": "CANARY^ANNA", "PatientID": "CANARY7", "SeriesDescription": "CANARY"}

Medseg = Callable[..., Ended]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def medseg(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Medseg:
    monkeypatch.setenv("MEDSEG_DICOMWEB_USER", USER)
    monkeypatch.setenv("MEDSEG_DICOMWEB_PASSWORD", PASSWORD)
    return lambda *words: run_command([*words], capfd, monkeypatch)


@pytest.fixture
def study(server: Orthanc, tmp_path: Path, brain: Any) -> str:
    """The UID of a study in the server: a series that can be segmented, and a lone slice."""
    folder = tmp_path / "source"
    tags = {**CANARY, "StudyInstanceUID": generate_uid()}
    paths = write_series(folder / "a", brain.astype(np.uint16), AFFINE, **tags)
    paths += write_series(folder / "b", brain.astype(np.uint16), AFFINE, slices=[2], **tags)
    for path in paths:
        server.ask("/instances", path.read_bytes())
    return str(tags["StudyInstanceUID"])


def wado(server: Orthanc, instance: pydicom.Dataset) -> pydicom.Dataset:
    """An instance as WADO-RS gives it, taken out of its answer by Python's reader of e-mails."""
    path = f"/dicom-web/studies/{instance.StudyInstanceUID}/series/{instance.SeriesInstanceUID}"
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    answer = server.ask(f"{path}/instances/{instance.SOPInstanceUID}", accept=accept)
    boundary = answer.splitlines()[0][2:] or answer.splitlines()[1][2:]
    head = b'Content-Type: multipart/related; boundary="' + boundary + b'"\r\n\r\n'
    parts = message_from_bytes(head + answer, policy=HTTP).get_payload()
    return pydicom.dcmread(BytesIO(parts[0].get_payload(decode=True)))


def dcmqi_voxels(path: Path, folder: Path) -> list[tuple[Any, Any]]:
    """Array and affine of each segment as dcmqi reads them."""
    search = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    program = shutil.which("segimage2itkimage", path=search)
    if program is None:
        pytest.skip("segimage2itkimage of dcmqi is not installed")
    folder.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    images = [nib.load(file) for file in sorted(folder.glob("*.nii.gz"))]
    return [(np.asarray(image.dataobj), image.affine) for image in images]


def require_equal(server: Orthanc, sent: Path, folder: Path) -> None:
    """A file that was sent comes back equal: as a data set, and its voxels by dcmqi and highdicom."""
    mine = pydicom.dcmread(sent)
    back = wado(server, mine)
    assert back == mine and back.file_meta.TransferSyntaxUID == mine.file_meta.TransferSyntaxUID
    if mine.Modality != "SEG":
        return
    folder.mkdir()
    back.save_as(folder / "back.dcm", enforce_file_format=True)
    pairs = zip(
        dcmqi_voxels(sent, folder / "sent"), dcmqi_voxels(folder / "back.dcm", folder / "got"), strict=True
    )
    count = 0
    for (array, affine), (array_back, affine_back) in pairs:
        np.testing.assert_array_equal(array, array_back)
        np.testing.assert_array_equal(affine, affine_back)
        count += int(np.count_nonzero(array))
    volumes = [
        highdicom.seg.segread(path).get_volume(combine_segments=True) for path in (sent, folder / "back.dcm")
    ]
    np.testing.assert_array_equal(volumes[0].array, volumes[1].array)
    np.testing.assert_array_equal(volumes[0].affine, volumes[1].affine)
    assert count == np.count_nonzero(volumes[0].array) > 0


def test_a_study_is_fetched_segmented_pushed_and_comes_back_equal(
    server: Orthanc, study: str, tmp_path: Path, medseg: Medseg, make_model: Callable[..., Path]
) -> None:
    out, root = tmp_path / "out", f"127.0.0.1:{server.http_port}/dicom-web"
    command = ("segment", f"dicomweb://{root}/studies/{study}", out, "--model", make_model())
    ended = medseg(*command)
    assert ended.code == ExitCode.SOME_EXCLUDED, ended.text
    rows = files.read_csv(out / "summary.csv")
    assert sorted((row["status"], row["code"], row["seg"]) for row in rows) == [
        ("done", "", "done"),
        ("excluded", "ONE_SLICE", ""),
    ]
    assert not (out / "private/fetched").exists()
    assert medseg(*command).code == ExitCode.SOME_EXCLUDED
    assert sorted(row["status"] for row in files.read_csv(out / "summary.csv")) == ["excluded", "skipped"]

    push = ("push", out, "--to", f"http://{root}")
    assert medseg(*push).code == ExitCode.DONE
    results = sorted(out.glob("*.dcm"))
    assert [row["status"] for row in files.read_csv(out / "push.csv")] == ["sent", "sent"] and results
    for path in results:
        require_equal(server, path, tmp_path / f"back {path.name}")
    assert medseg(*push).code == ExitCode.DONE
    assert [row["status"] for row in files.read_csv(out / "push.csv")] == ["already there"] * 2
    for path in (path for path in out.rglob("*") if path.is_file() and "private" not in path.parts):
        content = path.read_bytes()
        assert PASSWORD.encode() not in content
        assert path.suffix == ".dcm" or (study.encode() not in content and b"CANARY" not in content), path
    assert study not in ended.text and "CANARY" not in ended.text and PASSWORD not in ended.text


def test_results_go_by_c_store_too(
    server: Orthanc, study: str, tmp_path: Path, medseg: Medseg, make_model: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    medseg("segment", tmp_path / "source/a", out, "--model", make_model())
    results = sorted(out.glob("*.dcm"))
    own = {str(pydicom.dcmread(path).SOPInstanceUID) for path in results}
    assert not own & server.instances()
    address = f"dicom://ORTHANC@127.0.0.1:{server.dicom_port}"
    ended = medseg("push", out, "--to", address, "--verbose")
    assert ended.code == ExitCode.DONE and ended.text.count("sent: ") == 2, ended.text
    assert own <= server.instances()
    for path in results:
        require_equal(server, path, tmp_path / f"back {path.name}")
    assert medseg("push", out, "--to", address).code == ExitCode.DONE
    refused = medseg("push", out, "--to", f"dicom://OTHER@127.0.0.1:{server.dicom_port}")
    assert refused.code == ExitCode.NOTHING_USABLE and "SERVER_REFUSED" in refused.text
    assert "Traceback" not in refused.text


def test_check_and_convert_take_addresses_too(
    server: Orthanc, study: str, tmp_path: Path, medseg: Medseg
) -> None:
    address = f"dicomweb://127.0.0.1:{server.http_port}/dicom-web/studies/{study}"
    checked = medseg("check", address)
    assert checked.code == ExitCode.SOME_EXCLUDED and "ONE_SLICE" in checked.text, checked.text
    assert medseg("convert", address, tmp_path / "nifti").code == ExitCode.SOME_EXCLUDED
    image = nib.load(next((tmp_path / "nifti").glob("*.nii.gz")))
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)


def test_one_series_can_be_named(server: Orthanc, study: str, tmp_path: Path, medseg: Medseg) -> None:
    series = pydicom.dcmread(next((tmp_path / "source/a").iterdir())).SeriesInstanceUID
    address = f"dicomweb://127.0.0.1:{server.http_port}/dicom-web/studies/{study}/series/{series}"
    ended = medseg("convert", address, tmp_path / "nifti")
    assert ended.code == ExitCode.DONE and "8 files fetched" in ended.text


def test_a_wrong_password_and_an_unknown_study_are_one_line(
    server: Orthanc, study: str, tmp_path: Path, medseg: Medseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"dicomweb://127.0.0.1:{server.http_port}/dicom-web/studies"
    unknown = medseg("convert", f"{root}/1.2.3", tmp_path / "a")
    assert (unknown.code, unknown.text.count("\n")) == (ExitCode.USAGE, 1) and "HTTP 404" in unknown.text
    monkeypatch.setenv("MEDSEG_DICOMWEB_PASSWORD", "wrong-SECRET")
    wrong = medseg("convert", f"{root}/{study}", tmp_path / "b")
    assert wrong.code == ExitCode.USAGE and "HTTP 401" in wrong.text and "wrong-SECRET" not in wrong.text
