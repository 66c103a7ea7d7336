from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io import itk, nifti, scans


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
        *(("a.nii", True), ("a.NII.GZ", True), ("a.mgz", True), ("a.mha", True), ("a.nrrd", True)),
        *(("a.txt", False), ("a.gz", False), (".part-a.nii.gz", False), ("._a.nii.gz", False)),
    ],
)
def test_is_scan(name: str, expected: bool) -> None:
    assert scans.is_scan(Path("folder", name)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.nii", "a"), ("a.nii.gz", "a"), ("a.b.NII.GZ", "a.b"), ("a.seg.nrrd", "a.seg")),
        *(("a.mgz", "a"), ("a.txt", "a"), ("a", "a")),
    ],
)
def test_stem(name: str, expected: str) -> None:
    assert scans.stem(Path("folder", name)) == expected
