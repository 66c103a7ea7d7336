"""Names of segments in the headers of Slicer's segmentations."""

from __future__ import annotations

from pathlib import Path

from medseg.ingest import segment_names
from pipelines.commands import init
from tests.helpers.everyday_folders import SHAPE, scan


def nrrd(path: Path, names: list[str], place: float = 0.0) -> Path:
    """Write a segmentation as Slicer does: segment i has value i + 1, here one slice."""
    sizes = " ".join(map(str, SHAPE))
    lines = [
        *("NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior"),
        *(f"sizes: {sizes}", "space directions: (-1,0,0) (0,-1,0) (0,0,2)", "encoding: raw"),
        f"space origin: ({-place},{-place},{place})",
    ]
    for i, name in enumerate(names):
        lines += [f"Segment{i}_LabelValue:={i + 1}", f"Segment{i}_Name:={name}"]
    voxels = bytearray(SHAPE[0] * SHAPE[1] * SHAPE[2])
    for i in range(len(names)):
        start = (i + 1) * SHAPE[0] * SHAPE[1]
        voxels[start : start + 60] = bytes([i + 1]) * 60
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join((*lines, "", "")).encode() + bytes(voxels))
    return path


def test_values_are_called_as_the_header_says(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "Segmentation.seg.nrrd", ["prostate", "tumeur à gauche"])
    assert segment_names.of_file(path) == {1: "prostate", 2: "tumeur à gauche"}


def test_other_files_name_nothing(tmp_path: Path) -> None:
    nrrd(tmp_path / "a.txt", ["prostate"])
    assert segment_names.of_file(tmp_path / "a.txt") == {}
    assert segment_names.of_file(tmp_path / "absent.nrrd") == {}
    assert segment_names.of_file(nrrd(tmp_path / "plain.nrrd", [])) == {}


def test_init_takes_the_names_of_all_files(tmp_path: Path) -> None:
    for place in range(3):
        scan(tmp_path / f"data/C{place}/t2.nii.gz", place)
        nrrd(tmp_path / f"data/C{place}/Segmentation.seg.nrrd", ["prostate", "tumor"], place)
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    assert guess.classes == {0: "background", 1: "prostate", 2: "tumor"} and guess.n_labelled == 3


def test_files_that_number_segments_differently_are_named(tmp_path: Path) -> None:
    paths = [nrrd(tmp_path / "a.seg.nrrd", ["prostate", "tumor"])]
    paths.append(nrrd(tmp_path / "b.seg.nrrd", ["tumor", "prostate"]))
    names, (remark,) = segment_names.of_files(paths, tmp_path)
    assert names == {} and remark.startswith(
        "value 1 is called prostate in a.seg.nrrd and tumor in b.seg.nrrd"
    )
