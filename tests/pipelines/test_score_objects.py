"""`medseg evaluate --truth A --pred B --instances RULE`: objects of plain folders are scored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.metrics import objects
from pipelines.commands import score_folders
from pipelines.commands.score_folders import ObjectRule, Written
from tests.helpers.scan_files import save

TRUTH = np.zeros((12, 12), np.uint16)
TRUTH[1:5, 1:5], TRUTH[1:5, 5:9], TRUTH[8:11, 8:11] = 1, 2, 700  # the first two touch; numbers have a gap
GUESS = np.zeros((12, 12), np.uint16)
GUESS[1:5, 1:5], GUESS[1:5, 5:9], GUESS[0:2, 10:12] = 9, 4, 2


def image(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def score(place: Path, rule: ObjectRule, **more: Any) -> tuple[ExitCode, str, dict[str, str]]:
    """Exit code, what was said, and the first row of objects.csv."""
    stream = io.StringIO()
    reporter = Reporter(stream=stream, results=stream)
    out = place / "scores"
    ended = score_folders.run(
        place / "truth", place / "pred", out, reporter, written=Written(instances=rule, **more)
    )
    return ended, stream.getvalue(), files.read_csv(out / "objects.csv")[0]


def row(counts: objects.ObjectCounts) -> dict[str, str]:
    numbers = {"objects": counts.reference, "predicted": counts.predicted, "pairs": counts.pairs}
    scores = {name: getattr(counts, name) for name in objects.METRICS}
    return {name: "" if value is None else str(value) for name, value in {**numbers, **scores}.items()}


def test_numbers_of_both_are_compared(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "pred/a.tif", GUESS)
    ended, said, scored = score(tmp_path, "numbers")
    assert ended == ExitCode.DONE
    assert {k: scored[k] for k in row(objects.count(TRUTH, GUESS))} == row(objects.count(TRUTH, GUESS))
    assert (scored["objects"], scored["predicted"], scored["pairs"], scored["pq"]) == (
        "3",
        "3",
        "2",
        str(2 / 3),
    )
    assert "objects        F1 0.6667   PQ 0.6667" in said and "IoU object" in said
    summary = files.read_json(tmp_path / "scores/summary.json")
    assert summary["sets"]["test"]["objects"]["pairs"] == 2


def test_pixels_of_one_value_are_told_apart_by_components(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "pred/a.png", ((GUESS > 0) * 255).astype(np.uint8))
    _, said, scored = score(tmp_path, "components")
    assert "no prediction has more" not in said
    # The two that touch are one component, and its IoU with either, 1 / 2, makes no pair
    assert (scored["predicted"], scored["pairs"]) == ("2", "0")
    cut = score(tmp_path, "watershed")[2]
    assert int(cut["predicted"]) >= 2
    assert "no prediction has more than one value: --instances components" in score(tmp_path, "numbers")[1]


def test_a_map_beside_is_preferred(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "pred/a.png", ((GUESS > 0) * 255).astype(np.uint8))
    image(tmp_path / "pred/a_instances.tif", GUESS)
    assert score(tmp_path, "components")[2]["pairs"] == "2"


def test_a_folder_of_masks_is_a_truth(tmp_path: Path) -> None:
    for name, number in (("x", 1), ("y", 2), ("z", 700)):
        image(tmp_path / f"truth/a/masks/{name}.png", ((number == TRUTH) * 255).astype(np.uint8))
    image(tmp_path / "truth/a/images/a.png", np.zeros((12, 12), np.uint8))
    image(tmp_path / "pred/a.tif", GUESS)
    assert score(tmp_path, "numbers")[2]["pairs"] == "2"


def test_scans_count_alike(tmp_path: Path) -> None:
    save(tmp_path / "truth/a_seg.nii.gz", np.stack([TRUTH] * 3, 2).astype(np.int16))
    save(tmp_path / "pred/a.nii.gz", np.stack([GUESS] * 3, 2).astype(np.int16))
    _, said, scored = score(tmp_path, "numbers")
    assert scored["pairs"] == "2" and "object" in said and "HD95" in said


def test_a_missing_prediction_misses_every_object(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "truth/b.png", TRUTH)
    image(tmp_path / "pred/b.tif", GUESS)
    ended, _, scored = score(tmp_path, "numbers")
    assert ended == ExitCode.SOME_EXCLUDED
    assert (scored["objects"], scored["predicted"], scored["f1"], scored["aji"]) == ("3", "0", "0.0", "0.0")


def test_a_prediction_of_another_size_is_excluded_and_counts_as_missing(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "pred/a.tif", GUESS[:-1])
    ended, _, scored = score(tmp_path, "numbers")
    assert ended == ExitCode.SOME_EXCLUDED and scored["predicted"] == "0"
    assert files.read_csv(tmp_path / "scores/quarantine.csv")[0]["code"] == "GRID_MISMATCH"


def test_void_and_several_classes_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "pred/a.tif", GUESS)
    with pytest.raises(MedsegError) as refused:
        score(tmp_path, "numbers", void=(255,))
    assert refused.value.code is Code.USAGE
    with pytest.raises(MedsegError, match="objects are those of one class") as refused:
        score(tmp_path, "numbers", classes="camvid")
    assert refused.value.code is Code.USAGE


def test_the_name_is_that_of_labels_json(tmp_path: Path) -> None:
    image(tmp_path / "truth/a.png", TRUTH)
    image(tmp_path / "pred/a.tif", GUESS)
    rows = [{"value": v, "name": n, "colour": [v, 0, 0]} for v, n in ((0, "background"), (255, "nucleus"))]
    files.write_json(tmp_path / "pred/labels.json", rows)
    assert "IoU nucleus" in score(tmp_path, "numbers")[1]
