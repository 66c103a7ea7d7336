"""Images through the same stages as scans: PNG files in, PNG masks in the set's own values out."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.tracking import store
from pipelines import explanations
from pipelines import run as pipeline
from pipelines.commands import score_folders, segment
from pipelines.commands.segment import Settings
from pipelines.job import STAGES
from pipelines.run import Request
from pipelines.workfolder import Work
from tests.helpers.scan_files import save
from tests.helpers.scenes import CLASSES, SIZE, VOID, make_scenes, scene

TEST = ["s08", "s09", "s10", "s11"]
PIXELS = SIZE[0] * SIZE[1]
VOID_PIXELS = 5 * SIZE[1]


def tree() -> dict[str, Any]:
    return {
        "name": "scenes",
        "data": {
            "layout": "patterns",
            "channels": dict.fromkeys(("red", "green", "blue"), "images/{case}"),
            "label": "masks/{case}",
            "classes": CLASSES,
            "background": False,
            "void": VOID,
            "splits": {"train": ["s00..s05"], "val": ["s06", "s07"], "test": TEST},
        },
        "preprocess": {"foreground": "all", "crop": False},
        "sampling": {"depth": 1, "window": [32, 32]},
        "network": {"name": "unet", "keywords": {"width": 4, "depth": 2}},
        "train": {
            "epochs": 2,
            "steps_per_epoch": 8,
            "batch": 4,
            "lr": 0.02,
            "threads": 1,
            "precision": "fp32",
        },
        "predict": {"confidence_map": True},
    }


def go(place: Path) -> tuple[ExitCode, str]:
    stream = io.StringIO()
    request = Request(str(place / "scenes.yaml"), place / "data", place / "work")
    ended = pipeline.run(request, Reporter(stream=stream))
    return ended, stream.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run; the tests only look, or write beside it."""
    path = tmp_path_factory.mktemp("scenes")
    make_scenes(path / "data", 12)
    (path / "scenes.yaml").write_text(yaml.safe_dump(tree()))
    assert go(path)[0] == ExitCode.DONE
    yield path


def mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)


def test_masks_are_in_the_sets_own_values_and_colours(place: Path) -> None:
    predictions = place / "work/predictions"
    assert sorted(p.stem for p in predictions.glob("s??.png")) == TEST
    for case in TEST:
        made = mask(predictions / f"{case}.png")
        assert made.shape == SIZE
        assert set(np.unique(made)) <= set(CLASSES)
    with Image.open(predictions / "s08.png") as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    for value, about in CLASSES.items():
        assert palette[value].tolist() == about["colour"]


def test_margins_are_shares_in_65535ths(place: Path) -> None:
    with Image.open(place / "work/predictions/s08_confidence.png") as image:
        assert (image.mode, image.size) == ("I;16", SIZE[::-1])
        shares = np.asarray(image) / 65535
    told = files.read_json(place / "work/predictions/s08.json")
    assert shares.mean() == pytest.approx(told["quality"], abs=1e-3)  # every class is foreground


def test_sizes_and_scores_are_in_px(place: Path) -> None:
    told = files.read_json(place / "work/predictions/s09.json")
    assert told["size_unit"] == "px"
    assert sum(told["sizes"].values()) == PIXELS
    volumes = files.read_csv(place / "work/predictions/volumes.csv")
    assert {"field_px", "hut_px"} <= volumes[0].keys()
    rows = files.read_csv(place / "work/evaluation/scores.csv")
    assert {(r["length_unit"], r["size_unit"]) for r in rows} == {("px", "px")}
    for case in TEST:
        own = [r for r in rows if r["case"] == case]
        truth = scene(int(case[1:]))[1]
        assert [r["class"] for r in own] == [about["name"] for about in CLASSES.values()]
        assert [float(r["reference_size"]) for r in own] == [(truth == v).sum() for v in CLASSES]
        assert sum(float(r["size"]) for r in own) == PIXELS - VOID_PIXELS


def test_the_model_says_that_it_is_one_of_images(place: Path) -> None:
    about = files.read_json(place / "work/model/model.json")["description"]
    assert about["unit"] == "px"
    assert about["domain"] == {"cases": 6, "size_min_px": list(SIZE), "size_max_px": list(SIZE)}


def test_the_report_shows_images(place: Path) -> None:
    page = html.unescape((place / "work/report/report.html").read_text(encoding="utf-8"))
    words = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert page.count("data:image/jpeg") == len(TEST)
    assert "images of 3 channels" in words
    for absent in ("patient", "three planes", "(mm)", "(ml)"):
        assert absent not in words


def test_charts_in_mlflow_are_those_of_the_set(place: Path) -> None:
    known = files.read_json(place / "work/tracking.json")
    client = store.client(store.prepare(place / "work"))
    told = client.get_run(known["run_id"]).data.metrics.keys()
    assert {"test_mIoU", "test_G", "test_C", "test_fwIoU", "test_BF", "test_IoU_hut"} <= told
    assert {"val/miou", "val/G", "val/C"} <= told
    assert not {key for key in told if key.startswith("test_hd95_")}
    images = [a.path for a in client.list_artifacts(known["run_id"], "images")]
    assert sum(path.endswith(".png") for path in images) == 3  # before training, and after each epoch


def test_run_again_there_is_nothing_to_do(place: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (place / "work/predictions").iterdir()}
    _, said = go(place)
    assert said.count("up to date") == len(STAGES)
    assert {p: p.stat().st_mtime_ns for p in (place / "work/predictions").iterdir()} == before


def test_the_command_gives_the_stages_masks(place: Path, tmp_path: Path) -> None:
    model = place / "work/model"
    (tmp_path / "in").mkdir()
    for case in TEST[:2]:
        with Image.open(place / f"data/images/{case}.png") as image:
            image.save(tmp_path / f"in/{case}.bmp")
    save(tmp_path / "in/brain.nii.gz", np.zeros((4, 4, 4), np.int16))
    say = Reporter(stream=io.StringIO())
    assert segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say) == ExitCode.DONE
    for case in TEST[:2]:
        made, staged = tmp_path / f"out/{case}.png", place / f"work/predictions/{case}.png"
        assert made.read_bytes() == staged.read_bytes()
    rows = files.read_csv(tmp_path / "out/summary.csv")
    assert {r["status"] for r in rows} == {"done"}
    assert float(rows[0]["sky_px"]) > 0
    assert [Path(p).name for p in files.read_json(tmp_path / "out/run.json")["left_out"]] == ["brain.nii.gz"]
    segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say)
    assert {r["status"] for r in files.read_csv(tmp_path / "out/summary.csv")} == {"skipped"}


def test_a_scan_given_to_a_model_of_images_is_set_aside(place: Path, tmp_path: Path) -> None:
    brain = np.random.default_rng(0).integers(0, 99, (8, 8, 4)).astype(np.int16)
    colours = np.stack([brain] * 3, axis=-1)
    scan = save(tmp_path / "brain.nii.gz", colours)
    image = place / "data/images/s08.png"
    settings = Settings(place / "work/model")
    ended = segment.run([scan, image], tmp_path / "out", settings, Reporter(stream=io.StringIO()))
    assert ended == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(tmp_path / "out/quarantine.csv")
    assert (row["case"], row["code"]) == ("brain", "UNIT_MISMATCH")
    assert [r["status"] for r in files.read_csv(tmp_path / "out/summary.csv")] == ["excluded", "done"]


def test_masks_do_not_fall_over_their_images(place: Path) -> None:
    settings, say = Settings(place / "work/model"), Reporter(stream=io.StringIO())
    images = place / "data/images"
    for given in ([images], [images / "s08.png"]):
        with pytest.raises(MedsegError) as caught:
            segment.run(given, images, settings, say)
        assert caught.value.code == Code.USAGE


def test_two_folders_of_masks_are_scored_with_void_left_out(place: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for case in TEST:
        (truth / f"{case}.png").write_bytes((place / f"data/masks/{case}.png").read_bytes())
    say, predictions = Reporter(stream=io.StringIO()), place / "work/predictions"
    assert (
        score_folders.run(truth, predictions, tmp_path / "out", say, written=score_folders.Written((VOID,)))
        == ExitCode.DONE
    )
    by_stage, by_folder = (
        json.loads((folder / "summary.json").read_text())["sets"]["test"]["over_set"]
        for folder in (place / "work/evaluation", tmp_path / "out")
    )
    assert by_folder == by_stage
    with pytest.raises(MedsegError) as caught:
        score_folders.run(truth, predictions, tmp_path / "out", say, written=score_folders.Written((7,)))
    assert caught.value.code == Code.USAGE
    with pytest.raises(MedsegError) as caught:
        score_folders.run(truth, predictions, tmp_path / "out", say)
    assert caught.value.code == Code.NOTHING_USABLE


def test_an_image_is_explained_as_it_lies(place: Path) -> None:
    made = explanations.draw(Work(place / "work"), "s08", ["ball"], device="cpu")
    with Image.open(made["ball"]) as image:
        width, height = image.size
    assert height > width  # the image above, its heat below
