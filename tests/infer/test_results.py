"""The files of a result: names that never meet, and files that are written together or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from medseg import files
from medseg.classes import ClassList
from medseg.grid import Grid
from medseg.infer import results
from medseg.io import nifti, png
from medseg.volume import Volume

CLASSES = ClassList.from_names({0: "background", 1: "gm"})
NAMES = st.builds(
    "{}{}".format,
    st.sampled_from(["labels", "Run", "stage", "case", "x"]),
    st.sampled_from(["", "_case", "_case_case"]),
)


def result(value: int = 1, confidence: bool = False) -> results.Result:
    grid = Grid((3, 3, 2), np.eye(4))
    labels = Volume(np.full((1, 3, 3, 2), value, np.uint8), grid)
    sure = Volume(np.ones((1, 3, 3, 2), np.float32), grid) if confidence else None
    return results.Result(labels, sure, {"gm": 1.0}, 0.5, "probability", {"read": 0.1}, ())


def save(folder: Path, case: str, made: results.Result, key: str = "key") -> Path:
    label = results.label_map(folder, case, "mm")
    results.write(made, CLASSES, label, key, {"case": case})
    return label


@given(NAMES, NAMES)
def test_no_two_files_beside_the_results_have_one_name(a: str, b: str) -> None:
    paths = [results.metadata_path(results.label_map(Path("out"), case, "mm")) for case in (a, b)]
    assert (paths[0] == paths[1]) == (a == b)
    assert not {path.name.lower() for path in paths} & {"labels.json", "run.json", "stage.json"}


@pytest.mark.parametrize("case", ["a", "labels", "RUN", "stage_case", "labels_case_case", "case", "b_case"])
def test_the_case_of_a_json_is_found_again(tmp_path: Path, case: str) -> None:
    for program in ("labels", "run", "stage"):
        files.write_json(tmp_path / f"{program}.json", [])
    save(tmp_path, case, result())
    assert [*results.metadata_files(tmp_path).values()] == [case]


def test_unfinished_files_are_no_results(tmp_path: Path) -> None:
    label = save(tmp_path / "fold0", "a", result())
    (label.parent / ".part-0f-1-0-b.nii.gz").write_bytes(b"half")
    (label.parent / ".part-0f-1-0-c.json").mkdir()
    for name in ("c.nii.gz", "c.json"):
        (label.parent / ".part-0f-1-0-c.json" / name).write_bytes(b"half")
    assert results.maps(tmp_path) == [label]
    assert [*results.metadata_files(tmp_path)] == [label.with_name("a.json")]


def test_a_confidence_map_is_of_its_label_map_or_not_there(tmp_path: Path) -> None:
    label = save(tmp_path, "a", result(confidence=True))
    assert results.confidence_path(label).is_file()
    save(tmp_path, "a", result())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.nii.gz"]


def test_a_result_that_cannot_be_written_leaves_the_earlier_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = save(tmp_path, "a", result(confidence=True))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = nifti.write

    def failing(volume: Any, path: Path) -> None:
        if "confidence" in path.name:
            raise OSError("the disk is gone")
        write(volume, path)

    monkeypatch.setattr(nifti, "write", failing)
    with pytest.raises(OSError, match="gone"):
        save(tmp_path, "a", result(0, confidence=True), "other")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert results.cached_metadata(label, "key", confidence=True) is not None
    assert results.cached_metadata(label, "other") is None


@pytest.mark.parametrize("unit", ["mm", "px"])
def test_probabilities_are_written_with_their_result_or_neither_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: Any
) -> None:
    grid = Grid((4, 3, 1), np.eye(4), unit)
    steps = np.stack([np.full((4, 3, 1), 55, np.uint8), np.full((4, 3, 1), 200, np.uint8)])
    labels = Volume(np.ones((1, 4, 3, 1), np.uint8), grid)
    made = results.Result(
        labels, None, {"gm": 1.0}, 0.5, "probability", {}, (), probabilities=Volume(steps, grid)
    )
    label = results.label_map(tmp_path, "a", unit)
    results.write(made, CLASSES, label, "key", {})
    path = results.probabilities_path(label)
    assert results.maps(tmp_path) == sorted([label, path])
    if unit == "mm":
        read = np.moveaxis(nifti.read(path, channels_last=True).array, 0, -1)[:, :, 0]
        np.testing.assert_allclose(read, [[[55 / 255, 200 / 255]] * 3] * 4, atol=1e-7)
    else:
        with Image.open(path) as image:
            pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
        np.testing.assert_array_equal(pages, steps[..., 0])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def failing(*_: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(nifti, "write_steps", failing)
    monkeypatch.setattr(png, "write_pages", failing)
    with pytest.raises(OSError, match="gone"):
        results.write(made, CLASSES, label, "other", {})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert results.cached_metadata(label, "key") is not None
    path.write_bytes(b"damaged")
    assert results.cached_metadata(label, "key") is None


def test_a_kill_between_files_leaves_no_json_beside_another_label_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, replace = save(tmp_path, "a", result()), Path.replace

    def killed(path: Path, target: Path) -> Path:
        moved = replace(path, target)
        if target == label:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, "a", result(0))
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
