"""The data report of `medseg check`: each planted fault is named, and nothing else is."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import check
from tests.helpers.scan_files import STEP, save

SHAPE = (16, 18, 10)
CASES = [f"sub-{n:02}" for n in range(1, 9)]


def scan(seed: int) -> Any:
    """Noise around a body of about 100, in air, with its own brightness."""
    rng = np.random.default_rng(seed)
    array = np.zeros(SHAPE, np.int16)
    array[3:-3, 3:-3] = rng.normal(100 + 3 * rng.normal(), 15, (10, 12, 10)).round()
    return array


def label(seed: int) -> Any:
    rng = np.random.default_rng([seed, 1])
    array = np.zeros(SHAPE, np.uint8)
    array[4:9, 4 : 9 + int(rng.integers(2)), 2:7] = 1
    array[9:12, 4:9, 2 : 6 + int(rng.integers(2))] = 2
    array[5:11, 5:8, 3:5] += rng.integers(2, size=(6, 3, 2)).astype(np.uint8) * (array[5:11, 5:8, 3:5] == 1)
    return array


def clean(root: Path) -> None:
    for seed, case in enumerate(CASES):
        save(root / f"{case}_t1.nii.gz", scan(seed))
        save(root / f"{case}_t2.nii.gz", scan(seed + 100))
        save(root / f"{case}_seg.nii.gz", label(seed))


def files_of(root: Path, case: str) -> list[Path]:
    return sorted(root.glob(f"{case}_*"))


def again(path: Path, change: Callable[[Any], Any], affine: Any = STEP) -> None:
    """Write a file's voxels anew, after a change."""
    save(path, change(np.asarray(nib.load(path).dataobj)), affine)


def a_copy_in_other_form(root: Path) -> None:
    """The same voxels as floats, not compressed, under another header text."""
    image = nib.Nifti1Image(scan(2).astype(np.float32), STEP)
    image.header["descrip"] = b"exported again"
    (root / "sub-06_t1.nii.gz").write_bytes(gzip.compress(image.to_bytes(), 1))


def two_names_of_one(root: Path) -> None:
    for path in files_of(root, "sub-02"):
        path.rename(root / path.name.replace("sub-02", "SUB1"))


def ten_times_brighter(root: Path) -> None:
    again(root / "sub-05_t2.nii.gz", lambda array: array * 10)


def a_large_class(root: Path) -> None:
    again(root / "sub-06_seg.nii.gz", lambda array: np.where(array == 0, 2, array).astype(np.uint8))


def a_longer_field_of_view(root: Path) -> None:
    for path in files_of(root, "sub-04"):
        again(path, longer_label if "_seg" in path.name else lambda array: np.concatenate([array] * 3, 2))


def longer_label(array: Any) -> Any:
    """The same parts in more of the body."""
    return np.pad(array, ((0, 0), (0, 0), (0, 2 * SHAPE[2])))


def an_empty_label_map(root: Path) -> None:
    again(root / "sub-03_seg.nii.gz", np.zeros_like)


def a_missing_channel(root: Path) -> None:
    (root / "sub-07_t2.nii.gz").unlink()


def another_orientation(root: Path) -> None:
    flip = STEP @ np.diag([-1.0, 1.0, 1.0, 1.0])
    for path in files_of(root, "sub-08"):
        again(path, lambda array: array[::-1].copy(), flip)


def another_spacing(root: Path) -> None:
    for path in files_of(root, "sub-08"):
        again(path, lambda array: array, STEP @ np.diag([1.05, 1.05, 1.0, 1.0]))


FAULTS: dict[Callable[[Path], None], tuple[str, set[str]]] = {
    a_copy_in_other_form: ("duplicate", {"sub-03_t1.nii.gz", "sub-06_t1.nii.gz"}),
    two_names_of_one: ("similar names", {"SUB1", "sub-01"}),
    ten_times_brighter: ("grey values", {"sub-05_t2.nii.gz"}),
    a_large_class: ("class size", {"sub-06_seg.nii.gz"}),
    a_longer_field_of_view: ("image size", {"sub-04_t1.nii.gz", "sub-04_t2.nii.gz"}),
    an_empty_label_map: ("label map empty", {"sub-03_seg.nii.gz"}),
    a_missing_channel: ("channel missing", {"sub-07"}),
    another_orientation: ("orientations differ", {"sub-08_t1.nii.gz", "sub-08_t2.nii.gz"}),
    another_spacing: ("spacings differ", {"sub-08_t1.nii.gz", "sub-08_t2.nii.gz"}),
}


def report(folder: Path, recipe: Path | None = None, page: Path | None = None) -> tuple[ExitCode, Any, str]:
    screen, results = io.StringIO(), io.StringIO()
    say = Reporter(stream=screen, results=results)
    ended = check.run(folder, str(recipe) if recipe else None, say, as_json=True, page=page)
    return ended, json.loads(results.getvalue()), screen.getvalue()


def remarks(described: Any) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for remark in described["remarks"]:
        named.setdefault(remark["kind"], set()).update(remark["files"])
    return named


@pytest.fixture(params=["recipe", "no recipe"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    if request.param == "no recipe":
        return None
    data = {
        "path": "data",
        "channels": {"t1": "{case}_t1.nii.gz", "t2": "{case}_t2.nii.gz"},
        "label": "{case}_seg.nii.gz",
        "classes": {0: "background", 1: "left", 2: "right"},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "r", "data": {"layout": "patterns", **data}}))
    return tmp_path / "r.yaml"


def test_a_clean_folder_has_no_remark(tmp_path: Path, recipe: Path | None) -> None:
    clean(tmp_path / "data")
    ended, described, screen = report(tmp_path / "data", recipe)
    assert ended == ExitCode.DONE and described["remarks"] == []
    assert "nothing unusual" in screen
    assert {one["group"] for one in described["files"]} == {"t1", "t2", "label map"}
    assert [(row["value"], row["present_in"], row["label_maps"]) for row in described["classes"]] == [
        (1, 8, 8),
        (2, 8, 8),
    ]
    voxels = sum(int((label(seed) == 1).sum()) for seed in range(8)) / 8
    assert described["classes"][0]["size_median"] == pytest.approx(2 * voxels / 1000, rel=0.2)
    assert max(map(len, screen.splitlines())) <= 110


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_named_and_nothing_else(
    tmp_path: Path, recipe: Path | None, fault: Callable[[Path], None]
) -> None:
    clean(tmp_path / "data")
    fault(tmp_path / "data")
    ended, described, screen = report(tmp_path / "data", recipe)
    kind, named = FAULTS[fault]
    assert remarks(described) == {kind: named}
    assert f"  {kind}: " in screen
    excluded = fault is a_missing_channel and recipe is not None
    assert ended == (ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE)
    if kind in ("grey values", "class size", "image size"):
        for remark in described["remarks"]:
            assert remark["figure"] > 1.5 * remark["median"] > 0
            assert remark["files"][0] in remark["text"] and "median" in remark["text"]


def test_an_empty_label_map_is_a_note_and_not_a_constant_scan(tmp_path: Path, recipe: Path | None) -> None:
    clean(tmp_path / "data")
    an_empty_label_map(tmp_path / "data")
    _, described, _ = report(tmp_path / "data", recipe)
    noted = [(row["name"], row["verdict"]) for row in described["results"] if "LABEL_EMPTY" in row["code"]]
    assert noted == [("sub-03" if recipe else "sub-03_seg.nii.gz", "usable")]
    assert not any("CONSTANT" in row["code"] for row in described["results"])


def test_an_image_that_is_constant_is_no_empty_label_map(tmp_path: Path, recipe: Path | None) -> None:
    clean(tmp_path / "data")
    again(tmp_path / "data/sub-03_t1.nii.gz", np.zeros_like)
    ended, described, screen = report(tmp_path / "data", recipe)
    assert ended == ExitCode.SOME_EXCLUDED and "CONSTANT" in screen
    assert "label map empty" not in remarks(described)


def test_a_class_that_is_nowhere(tmp_path: Path, recipe: Path | None) -> None:
    """Known from the recipe, or from dataset.json."""
    clean(tmp_path / "data")
    if recipe is not None:
        tree = yaml.safe_load(recipe.read_text())
        tree["data"]["classes"][3] = "lesion"
        recipe.write_text(yaml.safe_dump(tree))
    else:
        for path in sorted((tmp_path / "data").iterdir()):
            case, _, kind = path.name.partition("_")
            folder = "labelsTr" if kind == "seg.nii.gz" else "imagesTr"
            number = {"t1.nii.gz": "_0000", "t2.nii.gz": "_0001"}.get(kind, "")
            (tmp_path / "data" / folder).mkdir(exist_ok=True)
            path.rename(tmp_path / "data" / folder / f"{case}{number}.nii.gz")
        names = {"background": 0, "left": 1, "right": 2, "lesion": 3}
        dataset = {"channel_names": {"0": "t1", "1": "t2"}, "labels": names, "file_ending": ".nii.gz"}
        (tmp_path / "data/dataset.json").write_text(json.dumps(dataset))
    _, described, screen = report(tmp_path / "data", recipe)
    assert remarks(described) == {"class missing": {"lesion"}}
    assert "0 of 8" in screen


def test_values_outside_the_class_list_are_reported_with_the_excluded(tmp_path: Path) -> None:
    clean(tmp_path / "data")
    again(tmp_path / "data/sub-03_seg.nii.gz", lambda array: array * 4)
    tree = {"layout": "patterns", "channels": {"t1": "{case}_t1"}, "label": "{case}_seg"}
    tree |= {"path": "data", "classes": {0: "background", 1: "left", 2: "right"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "r", "data": tree}))
    ended, described, screen = report(tmp_path / "data", tmp_path / "r.yaml")
    assert ended == ExitCode.SOME_EXCLUDED and "LABEL_VALUE_UNKNOWN" in screen
    assert "values        0, 1, 2, 4, 8" in screen
    assert described["classes"][0]["present_in"] == 7


# The page


def test_the_page_shows_every_case_and_is_the_only_file_written(tmp_path: Path, recipe: Path | None) -> None:
    clean(tmp_path / "data")
    (tmp_path / "data/sub-05_seg.nii.gz").unlink()
    ten_times_brighter(tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    _, _, screen = report(tmp_path / "data", recipe, tmp_path / "page.html")
    assert f"page: {tmp_path / 'page.html'}" in screen
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert after.keys() - before.keys() == {tmp_path / "page.html"}
    assert {path: after[path] for path in before if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }
    page = (tmp_path / "page.html").read_text()
    assert page.count('<img loading="lazy"') == len(CASES)
    assert all(case in page for case in CASES)
    assert page.count("no label map</i>") == 1 and page.count('class="seen"') == 1
    assert "http" not in page and "<script" not in page


def test_a_folder_in_place_of_the_page_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        report(tmp_path, None, tmp_path)
    assert caught.value.code == Code.USAGE


def test_the_page_names_inputs_with_one_fault_together(tmp_path: Path) -> None:
    clean(tmp_path / "data")
    for name in ("a", "b", "c"):
        save(tmp_path / "data" / f"{name}.nii.gz", np.zeros(SHAPE, np.float32) + 7)
    report(tmp_path / "data", None, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("CONSTANT") == 1 and "<td>a.nii.gz, b.nii.gz, c.nii.gz<td" in page
    assert '<li class="bad"><b>3</b>excluded' in page


def test_the_page_escapes_names(tmp_path: Path) -> None:
    save(tmp_path / "data" / "<b>x.nii.gz", scan(0))
    report(tmp_path / "data", None, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<b>x" not in page and "&lt;b&gt;x" in page


# Images


def photograph(path: Path, seed: int, side: int = 48) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(40, 200, (side, side + 16, 3)).astype(np.uint8)).save(path)


def mask(path: Path, rows: int) -> None:
    array = np.zeros((48, 64), np.uint8)
    array[:rows, 5:40] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_images_are_reported_in_pixels(tmp_path: Path) -> None:
    for n in range(6):
        photograph(tmp_path / f"data/images/a{n}.png", n)
        mask(tmp_path / f"data/masks/a{n}.png", 20 + n)
    photograph(tmp_path / "data/images/a9.png", 3)
    mask(tmp_path / "data/masks/a9.png", 0)
    _, described, screen = report(tmp_path / "data", None, tmp_path / "page.html")
    assert "64 × 48 px" in screen and " mm" not in screen
    assert remarks(described) == {
        "duplicate": {"images/a3.png", "images/a9.png"},
        "label map empty": {"masks/a9.png"},
    }
    assert [(row["name"], row["size_max"]) for row in described["classes"]] == [("foreground", 25 * 35)]
    assert (tmp_path / "page.html").read_text().count("<img") == 7


def test_one_mask_an_object_counts_as_one_label_map(tmp_path: Path) -> None:
    for n in range(3):
        photograph(tmp_path / f"data/a{n}/images/a{n}.png", n)
        mask(tmp_path / f"data/a{n}/masks/one.png", 4 + n)
        rest = np.zeros((48, 64), np.uint8)
        rest[30:40, 10 : 20 + n] = 255
        Image.fromarray(rest).save(tmp_path / f"data/a{n}/masks/two.png")
    _, described, _ = report(tmp_path / "data", None, tmp_path / "page.html")
    assert described["n_cases"] == 3
    assert [(row["present_in"], row["size_max"]) for row in described["classes"]] == [(3, 6 * 35 + 120)]
    assert remarks(described) == {}
