"""Colour images through the pipeline: half size, each once, growing windows, several views, mean IoU."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.infer import loading, predict, segment
from medseg.infer.inferers import WholeSlice
from medseg.infer.predictor import NetworkPredictor
from medseg.infer.tta import TestTimeAugmentation
from medseg.ingest import checks
from medseg.losses.class_weights import median_frequency
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.preprocess.prepare import prepare
from medseg.train.fit import fit
from medseg.train.state import read_network
from pipelines import run as pipeline
from pipelines.fold.data import class_weights
from pipelines.fold.fold import FoldTraining
from pipelines.fold.network import build_network
from pipelines.run import Request
from pipelines.workfolder import Work

NAMES = [f"p{n}" for n in range(7)]
COLOURS = dict.fromkeys(("red", "green", "blue"), "images/{case}.png")
TRAIN = {
    "epochs": 2,
    "batch": 3,
    "lr": 0.01,
    "threads": 1,
    "precision": "fp32",
    "resizing": [{"epochs": 1, "scale": 0.5}, {"epochs": 1, "scale": 1.0}],
    "augment": {
        "flip": ["horizontal"],
        "scale": 0.2,
        "rotate_degrees": 5,
        "saturation": 0.4,
        "hue": 0.05,
        "outside": "void",
    },
}


def tree(**parts: Any) -> dict[str, Any]:
    return {
        "name": "streets",
        "data": {
            "layout": "patterns",
            "channels": COLOURS,
            "label": "masks/{case}.png",
            "classes": {0: "sky", 1: "road", 2: "car"},
            "background": False,
            "void": 255,
            "splits": {"train": ["p0..p3"], "val": ["p4", "p5"], "test": ["p6"]},
        },
        "preprocess": {"spacing_px": [2, 2], "intensity": "imagenet", "crop": False},
        "sampling": {"depth": 1, "window": [16, 24], "foreground_oversampling": 0, "order": "shuffled"},
        "network": {"name": "usegnet", "keywords": {"width": 2}},
        "loss": {"name": "ce", "class_weights": "median_frequency"},
        "train": TRAIN,
        "predict": {"scales": [0.75, 1.0], "flip": True},
        "tracking": {"enabled": False},
        **parts,
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Seven pictures of 32 × 48: sky over road, a car on it, two columns of void."""
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for n, name in enumerate(NAMES):
        random = np.random.default_rng(n)
        label = np.zeros((32, 48), np.uint8)
        label[14:] = 1
        label[18:26, 6 + 4 * n : 16 + 4 * n] = 2
        label[:, :2] = 255
        colours = np.array([[120, 160, 230], [90, 90, 90], [200, 40, 40]], np.uint8)[label % 255 % 3]
        noisy = np.clip(colours + random.normal(0, 12, colours.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"data/images/{name}.png")
        Image.fromarray(label).save(tmp_path / f"data/masks/{name}.png")
    return tmp_path


def request(place: Path, value: dict[str, Any], *settings: str) -> Request:
    (place / "streets.yaml").write_text(yaml.safe_dump(value))
    return Request(str(place / "streets.yaml"), place / "data", place / "work", settings)


def go(place: Path, *settings: str, only: str | None = None, **parts: Any) -> str:
    stream = io.StringIO()
    asked = request(place, tree(**parts), *settings)
    assert pipeline.run(asked, Reporter(stream=stream), only=only) == ExitCode.DONE
    return stream.getvalue()


def training(place: Path) -> FoldTraining:
    return FoldTraining(load.load(str(place / "work/recipe.yaml")), Work(place / "work"), 0)


def prepared(place: Path, **parts: Any) -> FoldTraining:
    for stage in ("ingest", "preprocess"):
        go(place, only=stage, **parts)
    return training(place)


def test_a_run_on_colour_images(place: Path) -> None:
    said = go(place)
    assert "2 epochs × 2 steps of 3 patches" in said  # four images, the last batch filled up
    assert "validation miou" in said
    made = training(place)
    assert made.cases.train[0].volume.array.dtype == np.uint8
    assert made.cases.train[0].volume.array.shape == (3, 16, 24, 1)
    about = model_folder.read(place / "work/model").description
    assert (about.spacing_px, about.intensity, about.scales, about.flip) == (
        (2, 2),
        "imagenet",
        (0.75, 1),
        True,
    )
    assert "best validation miou" in about.trained["fold0"]
    # what validation told of the best weights is the mean IoU of all its pixels
    rows = files.read_csv(place / "work/train/0/history.csv")
    best = max(rows, key=lambda row: float(row["val/miou"]))
    assert best["is_best"] == "1"
    assert {"val/G", "val/C", "val/dice_mean", "val/dice_car"} <= rows[0].keys()
    network = build_network(made.recipe, 3)
    network.load_state_dict(read_network(place / "work/train/0/best.ckpt"))
    predictor = NetworkPredictor(network, loading.spec(about, network))
    total = np.zeros((3, 3), np.int64)
    for case in made.cases.validation:
        total += confusion_matrix.confusion(
            np.asarray(case.label), predict.label(case.volume, predictor, WholeSlice()).labels, 3
        )
    assert float(best["val/miou"]) == pytest.approx(confusion_matrix.mean_iou(total), abs=1e-6)
    assert float(best["val/G"]) == pytest.approx(confusion_matrix.pixel_accuracy(total), abs=1e-6)


def test_test_images_are_labelled_at_full_size_through_all_views(place: Path) -> None:
    go(place)
    model = loading.load(place / "work/model")
    assert isinstance(model.predictor, TestTimeAugmentation)
    channels = dict.fromkeys(("red", "green", "blue"), place / "data/images/p6.png")
    found = segment.segment(channels, model)
    assert found.labels.array.shape == (1, 32, 48, 1)
    scan, _ = checks.read_image(channels)
    assert scan is not None
    ready, record = prepare(scan, model.description.preprocessing())
    full = predict.label(ready, model.predictor, WholeSlice(), onto=record)
    np.testing.assert_array_equal(found.labels.array[0], full.labels)
    coarse = predict.label(ready, model.predictor, WholeSlice()).labels
    assert (full.labels != coarse.repeat(2, 0).repeat(2, 1)).any()
    row = files.read_csv(place / "work/evaluation/scores.csv")[0]
    assert row["case"] == "p6"
    said = go(place, "predict.scales=[1.0]", "predict.flip=false")
    assert "trained in" not in said and "predict: done" in said
    assert not isinstance(loading.load(place / "work/model").predictor, TestTimeAugmentation)


def test_class_weights_count_void_as_pixels_of_the_image(place: Path) -> None:
    made = prepared(place)
    counts = np.array([[case.counts.get(k, 0) for k in range(3)] for case in made.cases.train])
    assert counts.sum(axis=1).tolist() == [16 * 23] * 4  # one column of 24 is void
    weights = median_frequency(counts, np.full(4, 16 * 24))
    assert class_weights(made.recipe, made.cases.train) == pytest.approx(weights, abs=1e-6)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [1, 3])
def test_a_training_that_was_killed_ends_with_the_same_weights(place: Path, tmp_path: Path, at: int) -> None:
    made = prepared(
        place,
        train={**TRAIN, "batch": 2, "epochs": 3, "resizing": [*TRAIN["resizing"], TRAIN["resizing"][1]]},
    )  # type: ignore[misc]
    sizes: list[tuple[int, ...]] = []

    def weights(folder: Path, kill: int | None = None) -> dict[str, Any]:
        arguments = {**made.arguments(), "folder": folder, "validate": None}
        network = arguments["network"]
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
        for _ in fit(**arguments, on_step=stop(kill)):
            pass
        return {name: value.clone() for name, value in network.state_dict().items()}

    whole = weights(tmp_path / "whole")
    assert sizes == [(8, 12)] * 2 + [(16, 24)] * 4
    with pytest.raises(KilledError):
        weights(tmp_path / "killed", at)
    again = weights(tmp_path / "killed")
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


def stop(kill: int | None) -> Any:
    def on_step(step: int, _total: int, _loss: float) -> None:
        if step == kill:
            raise KilledError

    return on_step


def test_segnets_protocol_is_what_its_recipe_says() -> None:
    recipe = load.load("camvid_segnet_basic")
    train, loss = recipe.train, recipe.loss
    assert (train.optimiser, train.lr, train.momentum, train.schedule) == ("sgd", 0.1, 0.9, "constant")
    assert (train.batch, recipe.sampling.order, recipe.sampling.window) == (12, "shuffled", (360, 480))
    assert (loss.name, loss.class_weights) == ("ce", "median_frequency")
    assert (recipe.network.name, recipe.preprocess.spacing_px) == ("segnet_basic", None)


@pytest.mark.parametrize(("asked", "kept"), [("auto", "miou"), ("G", "G"), ("dice_mean", "dice_mean")])
def test_what_is_best_is_the_recipes_to_say(place: Path, asked: str, kept: str) -> None:
    assert prepared(place, train={**TRAIN, "monitor": asked}).plan.monitor == kept


def test_one_channel_where_three_colours_are_needed_is_refused(place: Path) -> None:
    grey = {"channels": {"em": "images/{case}.png"}}
    with pytest.raises(load.RecipeError) as refused:
        go(place, data={**tree()["data"], **grey}, preprocess={"crop": False})
    assert "colour changes of" in refused.value.problems[0].details


def test_fusing_scales_in_the_network_is_a_keyword(place: Path) -> None:
    deeplab = {"name": "deeplab_largefov", "keywords": {"width": 2, "hidden": 4, "scales": [0.5, 1.0]}}
    go(place, network=deeplab, predict={})
    network = model_folder.load_network(place / "work/model", "fold0")[1]
    assert network.scales == (0.5, 1.0)
