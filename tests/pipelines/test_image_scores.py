"""Sets of images (one slice, in px) from their label maps to the page: numbers over the set, BF, bars."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medseg import files
from medseg.console import Reporter
from medseg.errors import ExitCode, MedsegError
from medseg.metrics import boundary, summary, table
from pipelines import run as pipeline
from pipelines import tracked_scores
from pipelines.commands import score_folders
from pipelines.run import Request
from pipelines.stages import report
from tests.helpers.images import save, stripes
from tests.pipelines.test_run import OFF, tree

DATA = {
    "layout": "patterns",
    "channels": {"grey": "images/{case}.png"},
    "label": "masks/{case}.png",
    "classes": {0: "background", 1: "outer", 2: "inner"},
    "splits": [{"train": ["s0", "s1"], "val": ["s2"], "test": ["s3", "s4"]}],
}


def make_pictures(folder: Path) -> None:
    """Write `images/s0.png`, … and `masks/s0.png`, …: five noisy boxes in boxes."""
    mask = np.zeros((20, 24), np.uint8)
    mask[3:17, 4:20] = 1
    mask[7:13, 8:16] = 2
    for n in range(5):
        noise = np.random.default_rng(n).integers(0, 20, mask.shape, np.uint8)
        save(folder / f"images/s{n}.png", mask * np.uint8(100) + noise)
        save(folder / f"masks/s{n}.png", mask)


@pytest.fixture
def said_of_folders(tmp_path: Path) -> str:
    """What `evaluate --truth --pred` says of a square predicted as it is and of one moved by a pixel."""
    square = np.zeros((10, 10), np.uint8)
    square[2:6, 2:6] = 1
    for name, moved in (("a", 0), ("b", 1)):
        save(tmp_path / f"truth/{name}.png", square)
        save(tmp_path / f"pred/{name}.png", np.roll(square, moved, axis=1))
    stream = io.StringIO()
    told = Reporter(stream=stream, results=stream)
    score_folders.run(tmp_path / "truth", tmp_path / "pred", tmp_path / "out", told)
    return stream.getvalue()


def test_two_folders_of_images_are_told_by_the_numbers_over_the_set(
    said_of_folders: str, tmp_path: Path
) -> None:
    # TP 16 + 12, FP 4, FN 4 of 200 pixels; θ = 0.0075·√200 px is less than a pixel: BF 1 and ½.
    held = files.read_json(tmp_path / "out/summary.json")["sets"]["test"]
    assert held["over_set"]["G"] == pytest.approx(192 / 200)
    assert held["over_set"]["BF"] == pytest.approx(0.75)
    assert held["over_set"]["iou_by_class"] == pytest.approx({"background": 164 / 172, "label 1": 28 / 36})
    assert [row["bf"] for row in files.read_csv(tmp_path / "out/scores.csv")] == ["1.0", "0.5"]
    lines = [" ".join(line.split()) for line in said_of_folders.splitlines()]
    assert "IoU label 1 0.7778 G 0.9600 C 0.9256 mIoU 0.8656 fwIoU 0.9254 BF 0.7500" in lines
    assert "background IoU 0.9535" in lines
    assert "label 1 IoU 0.7778 BF 0.7500 n 2" in lines


def test_a_run_on_images_follows_the_recipe_s_tolerance_and_costs(tmp_path: Path) -> None:
    make_pictures(tmp_path / "data")
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree(data=DATA)))

    def go(*settings: str) -> tuple[dict, str]:
        stream = io.StringIO()
        asked = Request(str(tmp_path / "boxes.yaml"), tmp_path / "data", tmp_path / "work", (OFF, *settings))
        pipeline.run(asked, Reporter(stream=stream))
        return files.read_json(tmp_path / "work/evaluation/summary.json"), stream.getvalue()

    told, _ = go()
    held = told["sets"]["test"]
    assert told["costs"] == {"false_positive": 1.0, "false_negative": 1.0}
    assert list(held["over_set"]["iou_by_class"]) == ["background", "outer", "inner"]
    rows = table.read(tmp_path / "work/evaluation/scores.csv")
    by_case = [[row.bf for row in rows if row.case == case] for case in ("s3", "s4")]
    assert held["over_set"]["BF"] == pytest.approx(np.mean([np.mean(values) for values in by_case]))
    page = (tmp_path / "work/report/report.html").read_text()
    for text in ("IoU of each class, test", "boundary F1 (BF)", "test, 2 images", "mean IoU"):
        assert text in page
    logged = tracked_scores.headlines(told).keys()
    assert {"test_mIoU", "test_G", "test_BF", "test_IoU_inner"} <= logged
    assert not {"test_dice_inner", "test_hd95_mean"} & logged
    of_validation = tracked_scores.headlines({"sets": {"val": held}}).keys()
    assert {"val_scored_mIoU", "val_scored_IoU_inner"} <= of_validation
    assert not any(key.startswith("val/") for key in of_validation)

    again, said = go("evaluate.cost_fn=5", "evaluate.bf_tolerance=1")
    assert said.count("up to date") == 4  # ingest, preprocess, train, predict
    # Within the whole diagonal every boundary is matched, unless there is none.
    assert {row.bf for row in table.read(tmp_path / "work/evaluation/scores.csv")} <= {0.0, 1.0}
    one, five = (found["sets"]["test"]["over_set"]["weighted_error"] for found in (told, again))
    matrix = table.read_confusion(tmp_path / "work/evaluation/confusion.csv")["test"]
    assert five - one == 4 * (matrix[1:].sum() - np.trace(matrix[1:, 1:]))
    assert again["costs"]["false_negative"] == 5.0


@pytest.mark.parametrize(
    ("by_class", "classes", "found"),
    [
        ({"background": 0.9, "cell": 0.5}, ["cell"], ("cell", 0.5)),
        ({"background": 0.9, "cell": None}, ["cell"], ("cell", None)),
        ({"road": 0.9, "other": 0.5}, ["road", "other"], None),
        ({"background": 0.9, "a": 0.5, "b": 0.5}, ["a", "b"], None),
        ({"a mask": 0.5}, ["a mask"], None),
    ],
)
def test_the_iou_of_an_only_class_comes_first(
    by_class: dict[str, float | None], classes: list[str], found: tuple[str, float | None] | None
) -> None:
    held = {"cases": 3, "classes": classes, "over_set": {"mIoU": 0.7, "iou_by_class": by_class}}
    assert summary.only_class(held) == found
    titles = [tile.name for tile in report._image_tiles("test", held)]
    assert titles == [*([f"IoU {found[0]}"] if found and found[1] is not None else []), "mean IoU"]


def scored(place: Path, **keywords: Any) -> tuple[ExitCode, str]:
    """Exit code and what is said of the folders `truth` and `pred`."""
    stream = io.StringIO()
    told = Reporter(stream=stream, results=stream)
    ended = score_folders.run(
        place / "truth", place / "pred", place / "out", told, written=score_folders.Written(**keywords)
    )
    return ended, stream.getvalue()


def test_a_class_list_names_classes_and_void(tmp_path: Path) -> None:
    save(tmp_path / "truth/a.png", stripes([0, 1, 2, 11]))
    save(tmp_path / "pred/a.png", stripes([0, 1, 2, 2]))
    ended, said = scored(tmp_path, classes="camvid")
    assert ended == ExitCode.DONE and "Building " in said
    over_set = files.read_json(tmp_path / "out/summary.json")["sets"]["test"]["over_set"]
    assert (over_set["G"], over_set["mIoU"]) == (1, 1)  # 11 is the list's void


def test_a_truth_in_colours_is_read_by_the_class_list_and_the_prediction_by_its_values(
    tmp_path: Path,
) -> None:
    colours = np.array([[0, 0, 0], [250, 0, 0], [0, 0, 250]], np.uint8)
    text = {
        "classes": {n + 1: {"name": f"c{n}", "colour": colours[n + 1].tolist()} for n in range(2)},
        "background": False,
        "label_form": "colours",
        "void": 9,
        "void_colours": [[0, 0, 0]],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(text))
    save(tmp_path / "truth/a.png", colours[stripes([0, 1, 2, 2])])
    save(tmp_path / "pred/a.png", stripes([1, 1, 2, 2]))
    ended, _ = scored(tmp_path, classes=str(tmp_path / "mine.yaml"))
    assert ended == ExitCode.DONE
    assert files.read_json(tmp_path / "out/summary.json")["sets"]["test"]["over_set"]["mIoU"] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("classes: {0: a, 1: a}\nvoid: x\n", "void"),
        ("layout: voc\n", "no classes"),
        (None, "no such class list"),
    ],
)
def test_a_class_list_that_makes_no_sense_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    save(tmp_path / "truth/a.png", stripes([0, 1]))
    (tmp_path / "pred").mkdir()
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(MedsegError) as caught:
        scored(tmp_path, classes=str(tmp_path / "mine.yaml"))
    problems = getattr(caught.value, "problems", (caught.value.finding,))
    assert any(told in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("values", "keywords", "told"),
    [
        ([0, 1, 255], {}, True),
        ([0, 255], {}, False),
        ([0, 1, 255], {"void": [255]}, False),
        ([0, 1], {}, False),
    ],
)
def test_255_beside_classes_is_asked_about(
    tmp_path: Path, values: list[int], keywords: dict[str, Any], told: bool
) -> None:
    for folder in ("truth", "pred"):
        save(tmp_path / folder / "a.png", stripes(values))
    assert ("--void 255" in scored(tmp_path, **keywords)[1]) is told


def test_the_recipe_s_default_tolerance_is_the_library_s() -> None:
    from medseg.config.reporting import Evaluate

    assert Evaluate().bf_tolerance == boundary.SHARE
