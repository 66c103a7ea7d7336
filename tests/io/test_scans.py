from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io import images, itk, nifti, scans


def test_each_suffix_has_one_reader() -> None:
    for suffix in scans.SUFFIXES:
        able = [reader for reader in (nifti, itk) if reader.can_read(Path(f"a{suffix}"))]
        assert len(able) == 1, suffix


def test_reads_by_name(make_nifti: Callable[..., Path], ramp: Array) -> None:
    np.testing.assert_array_equal(scans.read(make_nifti(ramp, name="A.NII.GZ")).array[0], ramp)


def test_passes_keywords_on(make_nifti: Callable[..., Path]) -> None:
    path = make_nifti(np.zeros((3, 4, 5, 2), np.int16))
    assert scans.read(path, channels_last=True).array.shape == (2, 3, 4, 5)
    with pytest.raises(MedsegError, match="TOO_LARGE"):
        scans.read(path, channels_last=True, max_voxels=3)


def test_unknown_suffix_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        scans.read(tmp_path / "a.txt")
    assert caught.value.code is Code.NOT_AN_IMAGE
    assert ".nii.gz" in caught.value.finding.how_to_fix


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.nii", "mm"), ("a.NII.GZ", "mm"), ("a.mgz", "mm"), ("a.mha", "mm"), ("a.nrrd", "mm")),
        *(("a.png", "px"), ("a.JPEG", "px"), ("a.tif", "px"), ("a.jfif", "px"), ("a.jpe", "px")),
        *(("a.txt", None), ("a.gz", None), ("a", None), ("a.webp", None)),
        *((".part-a.nii.gz", None), ("._a.nii.gz", None), (".a.png", None), (".part-a.png", None)),
    ],
)
def test_detect_kind(name: str, expected: str | None) -> None:
    assert scans.detect_kind(Path("folder", name)) == expected


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        *(("a.webp", "magick a.webp a.png"), ("b.c.APNG", "'b.c.APNG[0]' b.c.png"), ("a.jp2", "a.png")),
        *(("a.HEIC", "a.png"), ("a.avif", "a.png"), ("a.pgm", "a.png")),
        *(("s.hdr", "fslchfiletype NIFTI_GZ s"), ("s.img.gz", "NIFTI_GZ s"), ("a.nii.bz2", "unpack")),
        *(
            ("a+orig.HEAD", "mri_convert"),
            ("a.dcm", "medseg convert"),
            ("DICOMDIR", "medseg convert"),
            ("a.npy", "nibabel"),
        ),
    ],
)
def test_a_known_format_without_a_reader_has_a_remedy(tmp_path: Path, name: str, remedy: str) -> None:
    how_to_fix = scans.unread_format(Path("folder", name))
    assert how_to_fix is not None and remedy in how_to_fix
    (tmp_path / name).write_bytes(b"anything")
    if name != "DICOMDIR":
        assert scans.detect_kind(tmp_path / name) is None
    with pytest.raises(MedsegError) as caught:
        scans.read(tmp_path / name)
    assert caught.value.code is Code.FORMAT_NOT_READ
    assert caught.value.finding.how_to_fix == how_to_fix


@pytest.mark.parametrize(
    "name", ["a.nii.gz", "a.png", "a.jfif", "notes.txt", "a.csv", "._a.webp", ".gif", "a.json"]
)
def test_other_files_are_no_unread_images(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(128) + b"DICM")
    assert scans.unread_format(path) is None


@pytest.mark.parametrize("name", ["IM_0001", "1.2.840.10008.5", "MR.1.2.3"])
def test_dicom_without_a_suffix_is_told_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(128) + b"DICM")
    assert "medseg convert" in str(scans.unread_format(path))
    path.write_bytes(bytes(128))
    assert scans.unread_format(path) is None
    assert scans.unread_format(tmp_path / "absent") is None


def test_no_format_is_both_read_and_not_read() -> None:
    formats = (*scans.SUFFIXES, *images.SUFFIXES, *scans.UNREAD_FORMATS)
    assert len(set(formats)) == len(formats)
    assert not [suffix for suffix in scans.UNREAD_FORMATS if scans.detect_kind(Path(f"a{suffix}"))]


def test_a_jfif_file_is_read_as_jpeg(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 90, np.uint8)).save(tmp_path / "a.jfif", format="JPEG")
    assert scans.read(tmp_path / "a.jfif").array.shape == (1, 4, 5, 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.nii", "a"), ("a.nii.gz", "a"), ("a.b.NII.GZ", "a.b"), ("a.seg.nrrd", "a.seg")),
        *(("a.mgz", "a"), ("a.txt", "a"), ("a", "a")),
    ],
)
def test_stem(name: str, expected: str) -> None:
    assert scans.stem(Path("folder", name)) == expected
