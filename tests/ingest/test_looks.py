from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.ingest.looks import Looks, look
from tests.helpers.everyday_folders import label, scan

RNG = np.random.default_rng(0)
BLOCKS = np.repeat(np.repeat(np.arange(40, dtype=np.int16).reshape(5, 8), 4, 0), 4, 1)[..., None]
"""40 values, each in a square of 4 x 4: a parcellation."""


def save(path: Path, array: np.ndarray) -> Path:
    nib.Nifti1Image(array, np.eye(4)).to_filename(path)
    return path


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (BLOCKS, "label"),
        (BLOCKS.astype(np.float32) + np.float32(1e-4), "label"),
        (RNG.permuted(BLOCKS.ravel()).reshape(BLOCKS.shape), "image"),
        (RNG.integers(0, 255, (20, 20, 5), np.uint8), "image"),
        (RNG.normal(size=(8, 8, 3)), "image"),
        (np.linspace(0, 1, 64).reshape(4, 4, 4), "image"),
        (np.zeros((4, 4, 4), np.uint8), "empty"),
        (np.full((4, 4, 4), np.nan), "image"),
    ],
)
def test_label_maps_are_few_whole_numbers_in_areas(tmp_path: Path, array: np.ndarray, kind: str) -> None:
    assert look(save(tmp_path / "a.nii", array)).kind == kind


def test_a_look_holds_grid_and_values(tmp_path: Path) -> None:
    label(tmp_path / "a.nii", 3, 7, place=5)
    seen = look(tmp_path / "a.nii")
    assert seen.values == (0, 3, 7) and seen.grid is not None
    assert seen.grid.affine[:3, 3].tolist() == [5, 5, 5]


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x")
    save(tmp_path / "b.nii", np.zeros((4, 4, 4, 3), np.int16))
    assert [look(tmp_path / name).kind for name in ("a.nii", "b.nii", "c.nii")] == ["unread"] * 3


def test_of_many_files_alike_a_few_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medseg.ingest import looks

    paths = []
    for i in range(20):
        scan(tmp_path / f"P{i:02}/a.nii")
        label(tmp_path / f"P{i:02}/b.nii", 1)
        paths += [f"P{i:02}/a.nii", f"P{i:02}/b.nii"]
    read: list[Path] = []
    monkeypatch.setattr(looks, "look", lambda path: read.append(path) or look(path))
    kinds = Looks(tmp_path).kinds(paths)
    assert kinds == {path: "image" if path.endswith("a.nii") else "label" for path in paths}
    assert len(read) == 6


def test_empty_label_maps_are_what_their_sisters_are(tmp_path: Path) -> None:
    label(tmp_path / "1_m.nii")
    label(tmp_path / "2_m.nii", 1)
    assert set(Looks(tmp_path).kinds(["1_m.nii", "2_m.nii"]).values()) == {"label"}
