"""Inputs that would be read without end: pipes, sparse files, endless trees; folders without permission."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg import files, limits
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest import class_names, layouts, tables, tree
from medseg.io import scan_size, scans
from medseg.io.dicom import claims
from medseg.io.dicom.series import read_export
from medseg.model import folder as model_folder
from medseg.networks import build
from pipelines.commands import check, segment
from tests.helpers.dicom_files import slice_dataset
from tests.helpers.model_folders import describe

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="pipes and sparse files as POSIX has them"),
    pytest.mark.timeout(60),
]
TERABYTES = 4 * 2**40
SCAN = nib.Nifti1Image(np.arange(1200, dtype=np.int16).reshape(15, 16, 5), np.eye(4)).to_bytes()
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{}"
    "DimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
).format


def code_of(path: Path) -> Code:
    with pytest.raises(MedsegError) as refused:
        scans.read(path)
    return refused.value.code


def sparse(path: Path, begin: bytes) -> Path:
    path.write_bytes(begin)
    os.truncate(path, TERABYTES)
    return path


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.mgz", "a.mha", "a.nrrd", "a.png", "a.tif", "a", "a.dcm"]
)
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    expected = {"a": Code.NOT_AN_IMAGE, "a.dcm": Code.FORMAT_NOT_READ}.get(name, Code.FILE_UNREADABLE)
    assert code_of(tmp_path / name) is expected
    assert scan_size.of_file(tmp_path / name) is None
    assert read_export(tmp_path).volumes == ()


def test_pipes_in_place_of_tables_and_descriptions_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("dataset.json", "cases.csv", "labels.txt", "model.json", "pipe.nrrd"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "a.nii").write_bytes(SCAN)
    with pytest.raises(MedsegError) as refused:
        tables.find(tmp_path, "cases.csv")
    assert refused.value.code is Code.FILE_UNREADABLE
    assert class_names.small_text(tmp_path / "labels.txt") == ""
    layouts.guess(tmp_path)
    with pytest.raises(MedsegError):
        model_folder.read(tmp_path)
    for read in (files.read_json, files.sha256):
        with pytest.raises(OSError, match="a pipe, socket or device"):
            read(tmp_path / "dataset.json")


def test_a_pipe_as_voxels_beside_their_header(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.raw")
    (tmp_path / "a.mhd").write_text(META("").replace("LOCAL", "a.raw"))
    assert code_of(tmp_path / "a.mhd") is Code.FILE_UNREADABLE


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("a.nii", SCAN),
        ("a.nii.gz", gzip.compress(SCAN)),
        ("a.mha", META("").encode() + bytes(128)),
        ("a.mha", META("CompressedData = True\n").encode() + gzip.compress(bytes(128))),
    ],
)
def test_a_sparse_file_is_not_read_to_its_end(name: str, begin: bytes, tmp_path: Path) -> None:
    assert code_of(sparse(tmp_path / name, begin)) is Code.TOO_LARGE
    with pytest.raises(OSError, match="more than"):
        files.sha256(tmp_path / name, limits.MAX_SCAN_BYTES)


def test_a_sparse_dicom_file(tmp_path: Path) -> None:
    sparse(tmp_path / "a", bytes(128) + b"DICM")
    assert [finding.code for _, finding in read_export(tmp_path).findings] == [Code.TOO_LARGE]


def test_a_data_set_of_empty_elements_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    slice_dataset(np.ones((2, 2, 2), np.uint16), np.eye(4), 0, series="1.2").save_as(
        content, enforce_file_format=True
    )
    meta_end = 144 + int.from_bytes(content.getvalue()[140:144], "little")
    (tmp_path / "a").write_bytes(content.getvalue()[:meta_end] + bytes(80_000))
    monkeypatch.setattr(claims, "MAX_READS", 5000)
    (finding,) = (finding for _, finding in read_export(tmp_path).findings)
    assert (finding.code, "elements" in finding.details) == (Code.TOO_LARGE, True)


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_before_and_after_the_voxels_are_limited(packed: bool, tmp_path: Path) -> None:
    end = bytes(limits.MAX_SURPLUS_BYTES)
    (tmp_path / "after.nii.gz").write_bytes(gzip.compress(SCAN + end + b"x", 1))
    assert code_of(tmp_path / "after.nii.gz") is Code.TOO_LARGE
    (tmp_path / "allowed.nii.gz").write_bytes(gzip.compress(SCAN + end, 1))
    assert scans.read(tmp_path / "allowed.nii.gz").array.shape == (1, 15, 16, 5)
    header = nib.Nifti1Header(SCAN[:348], check=False)
    header["vox_offset"] = 2.0**30
    plain = header.binaryblock + bytes(4)
    path = tmp_path / ("before.nii.gz" if packed else "before.nii")
    path.write_bytes(gzip.compress(plain + bytes(2**24)) if packed else plain)
    os.truncate(path, TERABYTES if packed else 2**31)
    assert code_of(path) is Code.TOO_LARGE


def test_compressed_voxels_of_a_metaimage_that_expand_too_far(tmp_path: Path) -> None:
    for surplus in (limits.MAX_SURPLUS_BYTES, limits.MAX_SURPLUS_BYTES + 1):
        packed = gzip.compress(bytes(128 + surplus), 1)
        (tmp_path / "a.mha").write_bytes(META("CompressedData = True\n").encode() + packed)
    assert code_of(tmp_path / "a.mha") is Code.TOO_LARGE


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Path]:
    """A scan, and a thousand folders inside one another, which are more than pytest can remove."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.nii").write_bytes(SCAN)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield folder
    while (folder / "d" / "d").exists():
        (folder / "d" / "d").rename(folder / "e")
        (folder / "d").rmdir()
        (folder / "e").rename(folder / "d")


def test_folders_of_scans_inside_one_another_without_end(endless: Path) -> None:
    refused: list[object] = []
    assert tree.files_under(endless, None, refused) == ["good.nii"]  # type: ignore[arg-type]
    assert [finding.code for finding in refused] == [Code.TOO_LARGE]  # type: ignore[attr-defined]
    with pytest.raises(MedsegError) as raised:
        tree.files_under(endless)
    assert raised.value.code is Code.TOO_LARGE


def quiet() -> Reporter:
    return Reporter(stream=io.StringIO(), results=io.StringIO())


def test_check_and_segment_name_what_cannot_be_entered_and_do_the_rest(
    endless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe, a sparse file, an endless tree and a folder without permission beside a good scan."""
    os.mkfifo(endless / "pipe.nii.gz")
    sparse(endless / "sparse.nii", SCAN)
    (endless / "locked").mkdir()
    listed = os.scandir

    def scandir(path: object) -> object:
        if Path(str(path)).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scandir)
    assert check.run(endless, None, quiet()) == ExitCode.SOME_EXCLUDED
    model = tmp_path / "model"
    network = build("usegnet", 3, 3, width=2)
    model_folder.export(model, {"fold0": network.state_dict()}, describe())
    out = tmp_path / "out"
    assert segment.run([endless], out, segment.Settings(model), quiet()) == ExitCode.SOME_EXCLUDED
    rows = {row["case"]: row for row in files.read_csv(out / "summary.csv")}
    assert {case: row["code"] for case, row in rows.items() if row["status"] == "excluded"} == {
        "pipe": "FILE_UNREADABLE", "sparse": "TOO_LARGE", "_".join("d" * 64): "TOO_LARGE",
        "locked": "FILE_UNREADABLE",
    }  # fmt: skip
    assert rows["good"]["status"].startswith("done")
    assert rows["locked"]["note"] == "Permission denied"
