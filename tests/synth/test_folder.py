"""The scan folder: complete, resumable, and careful with what others put there."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.files import read_json, sha256
from medseg.synth import folder
from medseg.synth.subject import make
from medseg.synth.tissues import Tissues


@pytest.fixture
def quick(anatomy: Tissues, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The anatomy without reading it again; the list records each request."""
    asked: list[float] = []
    monkeypatch.setattr(folder.tissues, "load", lambda spacing_mm: asked.append(spacing_mm) or anatomy)
    return asked


def hashes(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): sha256(p) for p in sorted(root.rglob("*.nii.gz"))}


def test_files_hold_the_subjects(quick: list[float], anatomy: Tissues, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    files = folder.write(tmp_path, 2, 7, 4.0, lambda done, total: seen.append((done, total)))
    assert files == [tmp_path / s / f"{s}.nii.gz" for s in ("sub-01", "sub-02")]
    assert list(hashes(tmp_path)) == [
        f"{s}/{s}{end}.nii.gz" for s in ("sub-01", "sub-02") for end in ("", "_seg")
    ]
    assert seen == [(1, 2), (2, 2)]
    for written, volume in zip(
        (files[1], files[1].with_name("sub-02_seg.nii.gz")), make(anatomy, 7, 2), strict=True
    ):
        image = nib.load(written)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), volume.array[0])
        np.testing.assert_allclose(image.affine, volume.grid.affine)
        assert image.get_data_dtype() == volume.array.dtype


def test_the_same_settings_make_nothing_again(quick: list[float], tmp_path: Path) -> None:
    folder.write(tmp_path, 1, 0, 4.0)
    before = [p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")]
    folder.write(tmp_path, 1, 0, 4.0)
    assert [p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")] == before
    assert quick == [4.0]


def test_a_missing_file_is_made_again_byte_for_byte(quick: list[float], tmp_path: Path) -> None:
    folder.write(tmp_path, 2, 0, 4.0)
    before = hashes(tmp_path)
    (tmp_path / "sub-02" / "sub-02_seg.nii.gz").unlink()
    folder.write(tmp_path, 2, 0, 4.0)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("name", ["sub-01.nii.gz", "sub-01_seg.nii.gz"])
def test_a_file_that_was_cut_is_made_again(quick: list[float], tmp_path: Path, name: str) -> None:
    folder.write(tmp_path, 2, 0, 4.0)
    before = hashes(tmp_path)
    path = tmp_path / "sub-01" / name
    path.write_bytes(path.read_bytes()[:-9])
    folder.write(tmp_path, 2, 0, 4.0)
    assert hashes(tmp_path) == before


def test_more_and_fewer_subjects(quick: list[float], tmp_path: Path) -> None:
    folder.write(tmp_path, 1, 0, 4.0)
    one = hashes(tmp_path)
    folder.write(tmp_path, 2, 0, 4.0)
    two = hashes(tmp_path)
    assert len(two) == 4
    assert one.items() <= two.items()
    folder.write(tmp_path, 1, 0, 4.0)
    assert hashes(tmp_path) == one
    assert not (tmp_path / "sub-02").exists()


def test_other_settings_make_everything_again(quick: list[float], tmp_path: Path) -> None:
    folder.write(tmp_path, 2, 0, 4.0)
    before = hashes(tmp_path)
    folder.write(tmp_path, 1, 1, 4.0)
    after = hashes(tmp_path)
    assert list(after) == ["sub-01/sub-01.nii.gz", "sub-01/sub-01_seg.nii.gz"]
    assert all(before[name] != after[name] for name in after)
    assert read_json(tmp_path / folder.RECORD)["seed"] == 1


def test_a_neighbour_s_file_keeps_its_folder(quick: list[float], tmp_path: Path) -> None:
    folder.write(tmp_path, 2, 0, 4.0)
    note = tmp_path / "sub-02" / "note.txt"
    note.write_text("mine")
    folder.write(tmp_path, 1, 0, 4.0)
    assert [p.name for p in note.parent.iterdir()] == ["note.txt"]


def test_files_of_others_are_refused(quick: list[float], tmp_path: Path) -> None:
    theirs = tmp_path / "sub-01" / "sub-01.nii.gz"
    theirs.parent.mkdir()
    theirs.write_bytes(b"a real scan")
    with pytest.raises(MedsegError, match="name another folder") as refusal:
        folder.write(tmp_path, 1, 0, 4.0)
    assert refusal.value.code is Code.USAGE
    assert theirs.read_bytes() == b"a real scan"
    assert not (tmp_path / folder.RECORD).exists()
