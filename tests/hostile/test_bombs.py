"""Inputs that announce or expand to more than there is: refused with a code, in little memory and time."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import limits
from medseg.config import yaml_text
from medseg.errors import Code, MedsegError
from medseg.ingest import dataset_json
from medseg.io import itk, scans
from medseg.io.dicom import files as dicom_files
from medseg.io.dicom.series import read_export
from medseg.model import folder as model_folder
from tests.helpers.dicom_files import slice_dataset, write_series

MOST_MB = 300
MOST_S = 20.0
PIXELS = np.arange(60, dtype=np.uint16).reshape(5, 4, 3)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Each test here stays within memory and time, whatever the input says."""
    tracemalloc.start()
    started = time.monotonic()
    yield
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak < MOST_MB
    assert time.monotonic() - started < MOST_S


def codes(folder: Path) -> set[str]:
    export = read_export(folder)
    found = {str(finding.code) for _, finding in export.findings}
    for volume in export.volumes:
        try:
            scans.read(volume)
        except MedsegError as error:
            found.add(str(error.code))
        else:
            found.add("read")
    return found


def deflated(size: int) -> bytes:
    """A deflate stream of that many zeros."""
    packer = zlib.compressobj(9, wbits=-15)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size // 2**20)) + packer.flush()


def file_bytes(**tags: object) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slice_dataset(PIXELS, np.eye(4), 0, series="1.2.3", **tags).save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_a_gzip_bomb(tmp_path: Path) -> None:
    head = file_bytes()
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(head)
        for _ in range(256):
            file.write(bytes(2**20))
    assert codes(tmp_path) == {"TOO_LARGE"}


def test_a_zip_bomb_and_a_zip_inside_a_zip(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as entry:
        entry.write(file_bytes())
        for _ in range(128):
            entry.write(bytes(2**20))
    (tmp_path / "bomb.zip").write_bytes(inner.getvalue())
    assert codes(tmp_path) == {"TOO_LARGE"}
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    (tmp_path / "bomb.zip").unlink()
    assert codes(tmp_path) == set()  # archives inside archives are not entered
    assert len(read_export(tmp_path).others) == 1


def test_archives_whose_entries_share_bytes_or_expand_too_far_together(tmp_path: Path) -> None:
    """Each entry is within the limit of one; a few kilobytes would be hours of reading."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", file_bytes() + bytes(2**20))
    content = packed.getvalue()
    directory, end = content.rindex(b"PK\1\2"), content.rindex(b"PK\5\6")
    rows = content[directory:end] * 4000
    ending = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 4000, 4000, len(rows), directory, 0)
    (tmp_path / "shared.zip").write_bytes(content[:directory] + rows + ending)
    (finding,) = (finding for _, finding in read_export(tmp_path).findings)
    assert (finding.code, "share" in finding.details) == (Code.TOO_LARGE, True)
    with zipfile.ZipFile(tmp_path / "shared.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(10):
            archive.writestr(str(n), file_bytes() + bytes(8 * 2**20))
    assert codes(tmp_path) == {"TOO_LARGE"}


def test_an_archive_of_too_many_or_too_large_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(4):
            archive.writestr(str(n), b"x" * 100)
    for name, limit in (("MAX_ENTRIES", 3), ("MAX_ARCHIVE_BYTES", 399)):
        with monkeypatch.context() as patch:
            patch.setattr(dicom_files, name, limit)
            assert codes(tmp_path) == {"TOO_LARGE"}
    assert codes(tmp_path) == set()


def test_a_deflated_data_set_that_expands_too_far(tmp_path: Path) -> None:
    plain = file_bytes()
    meta_end = 144 + int.from_bytes(plain[140:144], "little")
    meta = plain[144:meta_end].replace(
        b"UI\x14\x001.2.840.10008.1.2.1\x00", b"UI\x16\x001.2.840.10008.1.2.1.99"
    )
    head = plain[:140] + len(meta).to_bytes(4, "little") + meta
    (tmp_path / "a").write_bytes(head + deflated(128 * 2**20))
    assert codes(tmp_path) == {"TOO_LARGE"}
    packer = zlib.compressobj(wbits=-15)
    (tmp_path / "a").write_bytes(head + packer.compress(plain[meta_end:]) + packer.flush())
    assert codes(tmp_path) == {"ONE_SLICE"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"NumberOfFrames": 2**31 - 1}, "TOO_LARGE"),
        ({"NumberOfFrames": limits.MAX_FRAMES + 1}, "TOO_LARGE"),
        ({"Rows": 65535, "Columns": 65535}, "TOO_LARGE"),
        ({"Rows": 8000, "Columns": 8000}, "DICOM_DAMAGED"),
        ({"NumberOfFrames": -1}, "DICOM_DAMAGED"),
        ({"ImagePositionPatient": ["1e30", "0", "0"]}, "NO_POSITION"),
        ({"PixelSpacing": ["1e-30", "1"]}, "NO_POSITION"),
    ],
)
def test_headers_of_dicom_that_claim_too_much(tags: dict[str, object], expected: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path, PIXELS, np.eye(4), **tags)
    assert expected in codes(tmp_path)


def test_a_compressed_frame_that_claims_another_size(tmp_path: Path) -> None:
    paths = write_series(tmp_path, PIXELS.repeat(8, 0).repeat(8, 1), np.eye(4))
    import pydicom

    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)
        dataset.save_as(path)
    assert codes(tmp_path) == {"read"}
    content = paths[0].read_bytes()
    at = content.index(b"\xff\xf7") + 5
    paths[0].write_bytes(content[:at] + struct.pack(">HH", 60000, 60000) + content[at + 4 :])
    assert codes(tmp_path) == {"DICOM_DAMAGED"}


def test_sequences_inside_one_another(tmp_path: Path) -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nested = (b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + item) * 20_000
    content = file_bytes()
    meta_end = 144 + int.from_bytes(content[140:144], "little")
    (tmp_path / "a").write_bytes(content[:meta_end] + nested)
    assert codes(tmp_path) == {"DICOM_DAMAGED"}


def test_folders_inside_one_another(tmp_path: Path) -> None:
    write_series(tmp_path / "a", PIXELS, np.eye(4))
    deep = tmp_path.joinpath(*["d"] * (limits.MAX_DEPTH + 3))
    write_series(deep, PIXELS, np.eye(4), series="1.2.9")
    assert codes(tmp_path) == {"read", "TOO_LARGE"}


def test_links_that_lead_out_or_in_circles_are_not_followed(tmp_path: Path) -> None:
    write_series(tmp_path / "secret", PIXELS, np.eye(4))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "slice").symlink_to(next((tmp_path / "secret").iterdir()))
    (folder / "circle").symlink_to(folder)
    export = read_export(folder)
    assert (export.volumes, export.findings, export.others) == ((), (), ())


def test_a_directory_of_records_that_point_at_each_other(tmp_path: Path) -> None:
    from tests.helpers.fuzz import seeds

    seed = seeds.of_target("dicomdir")[0]
    content = seed.files["DICOMDIR"]
    first = content.index(b"\x04\x00\x00\x14UL\x04\x00") + 8  # offset of the next record
    for name, data in seed.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    here = content.index(b"\xfe\xff\x00\xe0")
    circle = content[:first] + here.to_bytes(4, "little") + content[first + 4 :]
    (tmp_path / "DICOMDIR").write_bytes(circle)
    assert codes(tmp_path) == {"read"}
    (tmp_path / "DICOMDIR").write_bytes(circle.replace(b"PT000000", b"../../.."))
    assert codes(tmp_path) <= {"read", "DICOMDIR_INCOMPLETE"}


@pytest.mark.parametrize("count", [1000])
def test_many_tiny_files_take_time_in_proportion(count: int, tmp_path: Path) -> None:
    content = file_bytes()
    for n in range(count):  # one instance many times over; and as many files of one byte
        (tmp_path / f"{n}").write_bytes(content)
        (tmp_path / f"{n}.txt").write_bytes(b"x")
    export = read_export(tmp_path)
    assert [str(note.code) for note in export.volumes[0].notes] == ["DUPLICATE_INSTANCE"]
    assert len(export.others) == count


@pytest.mark.parametrize("shape", [(32767, 32767, 32767), (2000, 2000, 2000), (512, 512, 512)])
def test_a_nifti_header_that_claims_too_much(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    struct.pack_into("<4h", content, 40, 3, *shape)
    for name, data in (("a.nii", bytes(content)), ("a.nii.gz", gzip.compress(bytes(content)))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MedsegError) as refused:
            scans.read(tmp_path / name)
        assert refused.value.code in {Code.TOO_LARGE, Code.TRUNCATED}


def test_a_png_bomb(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = chunk(b"IHDR", struct.pack(">2I5B", 60000, 60000, 1, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(2**20), 9))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    with pytest.raises(MedsegError) as refused:
        scans.read(tmp_path / "a.png")
    assert refused.value.code is Code.TOO_LARGE


NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\nendian: little\n{}\n"
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{}\n"
    "ElementType = MET_SHORT\nElementDataFile = {}\n"
)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../secret.raw", "a/../../secret.raw", "~/secret", "C:\\x"]
)
@pytest.mark.parametrize("list_of_files", [False, True])
def test_itk_headers_that_name_files_elsewhere(target: str, list_of_files: bool, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(128))
    named = f"LIST\n{target}" if list_of_files else target
    (folder / "a.mhd").write_text(META.format("DimSize = 4 4 4", named))
    (folder / "a.nhdr").write_text(NRRD.format(f"data file: {named}"))
    for name in ("a.mhd", "a.nhdr"):
        with pytest.raises(MedsegError) as refused:
            scans.read(folder / name)
        assert refused.value.code is Code.DATA_FILE_OUTSIDE


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("4 4 4", "65535 65535 65535"),
        lambda text: text.replace("4 4 4", "99999999999999999999 4 4"),
        lambda text: text.replace("4 4 4", "4 4"),
        lambda text: text.replace("= 3", "= 99").replace(": 3", ": 99"),
        lambda text: text.replace("short", "x" * 5000).replace("MET_SHORT", "MET_" + "X" * 5000),
        lambda text: text.replace("\n", "\n" + "[" * 3000 + "\n", 1),
        lambda text: text.replace("little", "%n%n%s"),
    ],
)
def test_itk_headers_that_crash_its_parsers(change: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(change(META.format("DimSize = 4 4 4", "LOCAL")).encode() + bytes(128))
    (tmp_path / "a.nrrd").write_bytes(change(NRRD.format("")).encode() + bytes(128))
    before = {"a.mha": META.format("DimSize = 4 4 4", "LOCAL"), "a.nrrd": NRRD.format("")}
    for name in ("a.mha", "a.nrrd"):
        if change(before[name]) == before[name]:
            continue
        with pytest.raises(MedsegError) as refused:
            itk.read(tmp_path / name)
        assert refused.value.code in {Code.NOT_AN_IMAGE, Code.TOO_LARGE, Code.TRUNCATED}


def test_nrrd_headers_that_name_no_file(tmp_path: Path) -> None:
    for value in ("", " ", "\t", "LIST", "LIST 3"):
        (tmp_path / "a.nhdr").write_text(NRRD.format(f"data file:{value}").rstrip("\n"))
        with pytest.raises(MedsegError) as refused:
            itk.read(tmp_path / "a.nhdr")
        assert refused.value.code in {Code.NOT_AN_IMAGE, Code.FILE_MISSING}


def test_json_and_yaml_too_deep_or_repeated_too_often(tmp_path: Path) -> None:
    for deep in ("[" * 100_000, "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200):
        (tmp_path / "model.json").write_text(deep)
        (tmp_path / "dataset.json").write_text(deep)
        with pytest.raises(MedsegError) as refused:
            model_folder.read(tmp_path)
        assert refused.value.code is Code.NOT_A_MODEL
        with pytest.raises(MedsegError) as refused:
            dataset_json.read(tmp_path)
        assert refused.value.code is Code.RECIPE_INVALID
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    for text in (
        laughs,
        "a: &a [*a]",
        "[" * 5000,
        "x: " + "y" * (limits.MAX_YAML_BYTES + 1),
        "d: 2020-99-99",
    ):
        with pytest.raises(yaml.YAMLError):
            yaml_text.parse(text)
    assert yaml_text.parse("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}
    assert json.dumps(yaml_text.parse("d: 2020-01-01"), default=str) == '{"d": "2020-01-01"}'


def test_yaml_that_merges_too_much_or_repeats_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MAX_NODES", 2000)
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
    )
    for text, words in (
        (merges, "<< merges"),
        ("a: {b: 1, 'b': 2}", "twice"),
        ("a: &a {<<: *a}", "impossible"),
    ):
        with pytest.raises(yaml.YAMLError, match=words):
            yaml_text.parse(text)
    assert yaml_text.parse("a: &a {x: 1, y: 1}\nb: {<<: *a, x: 2}")["b"] == {"x": 2, "y": 1}
