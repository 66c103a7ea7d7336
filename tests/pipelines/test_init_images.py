"""`medseg init` on image sets: pairs of folders, packaged class files, a set's own split, refusals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import ExitCode
from pipelines import run as pipeline
from pipelines.commands import check, init
from pipelines.run import Request
from tests.helpers.image_sets import SAMPLES
from tests.helpers.images import draw, save, stripes

BLACK_AND_WHITE = stripes([0, 255])


def made(tmp_path: Path, n_cases: int) -> Recipe:
    """The recipe that init writes for `data`; its ingest takes so many labelled cases."""
    out = tmp_path / "made.yaml"
    guess = init.run(tmp_path / "data", out, force=False)
    assert (guess.n_cases, guess.n_labelled) == (n_cases, n_cases)
    request = Request(str(out), None, tmp_path / "w", ("tracking.enabled=false",))
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.DONE
    rows = files.read_csv(tmp_path / "w/ingest/cases.csv")
    assert [row["labelled"] for row in rows] == ["yes"] * n_cases
    return load.load(str(out))


@pytest.mark.parametrize(
    ("image", "label", "pattern"),
    [
        ("Kvasir/images/{}.jpg", "Kvasir/masks/{}.png", "Kvasir/masks/{case}"),
        ("Original/{}.png", "Ground Truth/{}.tif", "Ground Truth/{case}"),
        ("train/image/{}.png", "train/label/{}.png", "{role}/label/{case}"),
        ("a/img/left/{}.png", "a/gt/left/{}.png", "a/gt/left/{case}"),
    ],
)
def test_a_pair_of_folders_is_found_at_any_depth(
    tmp_path: Path, image: str, label: str, pattern: str
) -> None:
    root = tmp_path / "data"
    for case in "abc":
        save(root / image.format(case), draw(ord(case)))
        save(root / label.format(case), BLACK_AND_WHITE)
    save(root / "odd/a_original.png", draw())
    save(root / "odd/a_mask.png", BLACK_AND_WHITE)
    out = tmp_path / "made.yaml"
    guess = init.run(root, out, force=False)
    assert (guess.n_cases, guess.n_labelled, guess.n_other) == (3, 3, 2)
    data = load.load(str(out)).data
    assert data.label == pattern and data.classes[255].name == "foreground"


def test_pairs_in_folders_of_roles_are_the_split(tmp_path: Path) -> None:
    for role in ("train", "val", "test"):
        save(tmp_path / f"data/Original/{role}/{role}.png", draw())
        save(tmp_path / f"data/segmentation/{role}/{role}.png", BLACK_AND_WHITE)
    recipe = made(tmp_path, 3)
    assert recipe.data.label == "segmentation/{role}/{case}" and recipe.data.splits == "listed"


@pytest.mark.parametrize("name", ["kitti_road", "bdd100k", "mapillary"])
def test_a_packaged_class_file_that_fits_is_named(tmp_path: Path, name: str) -> None:
    SAMPLES[name].build(tmp_path / "data")
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False)
    recipe = load.load(str(tmp_path / "made.yaml"))
    assert guess.class_file == name and guess.n_labelled == len(SAMPLES[name].files)
    assert guess.n_other == len(SAMPLES[name].others)
    assert recipe.data.splits == "listed" or {"val"} - guess.roles


def test_a_set_with_lists_keeps_its_split_and_takes_whole_images(tmp_path: Path) -> None:
    SAMPLES["camvid"].build(tmp_path / "data")
    recipe = made(tmp_path, 3)
    assert recipe.data.splits == "listed" and recipe.predict.roles == ("val", "test")
    assert recipe.sampling.depth == 1 and recipe.sampling.order == "shuffled"
    text = (tmp_path / "made.yaml").read_text()
    assert "spacing_mm" not in text and "plane:" not in text and "n4" not in text


def test_windows_of_large_images_are_cut_and_unreadable_ones_do_not_hinder(tmp_path: Path) -> None:
    for case in "abcd":
        save(tmp_path / f"data/images/{case}.png", draw(ord(case), (100, 300)))
        save(tmp_path / f"data/masks/{case}.png", stripes([0, 1], (100, 300)))
    assert made(tmp_path, 4).sampling.window == (96, 256)
    (tmp_path / "data/images/a.png").write_bytes(b"no picture")
    init.run(tmp_path / "data", tmp_path / "again.yaml", force=False)
    assert load.load(str(tmp_path / "again.yaml")).sampling.window == (96, 256)


def test_a_folder_without_a_case_gives_a_skeleton_with_what_was_seen(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for case in "xy":
            save(tmp_path / f"data/{folder}/{case}.png", np.zeros((4, 4), np.uint8))
    guess = init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    assert guess.n_labelled == 0 and load.load(str(tmp_path / "r.yaml")).data.label is None
    text = (tmp_path / "r.yaml").read_text()
    assert "# NOT COMPLETE" in text and "Read it once" not in text
    assert "1 empty label map: a/x.png, 4 × 4 px" in text


def test_check_without_a_recipe_says_what_it_recognised_and_that_it_pairs_nothing(tmp_path: Path) -> None:
    SAMPLES["camvid"].build(tmp_path / "data")
    stream = io.StringIO()
    assert check.run(tmp_path / "data", None, Reporter(stream=stream)) == ExitCode.DONE
    assert "looks like layout camvid: 3 cases, 3 with masks" in stream.getvalue()
    assert "one by one, not as cases" in stream.getvalue()
    assert "6 files: 6 usable" in stream.getvalue()


def test_masks_without_a_class_give_a_skeleton(tmp_path: Path) -> None:
    for case in "abc":
        save(tmp_path / f"data/images/{case}.png", draw(ord(case)))
        save(tmp_path / f"data/masks/{case}.png", np.zeros(BLACK_AND_WHITE.shape, np.uint8))
    out = tmp_path / "made.yaml"
    guess = init.run(tmp_path / "data", out, force=False)
    assert (guess.n_cases, guess.n_labelled, len(guess.remarks)) == (3, 0, 1)
    assert "no label map can be used as it is" in out.read_text()


def test_a_skeleton_names_sizes_of_images_as_width_and_height(tmp_path: Path) -> None:
    for case in "ab":
        save(tmp_path / f"data/photos/{case}.png", draw(ord(case)))
    height, width = draw().shape[:2]
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False)
    assert guess.n_labelled == 0
    assert any(line.endswith(f"{width} × {height} px") for line in guess.seen)
