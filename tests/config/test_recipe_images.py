"""Keys of a recipe for images: what clashes, what may be written, what leaves hashes as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import load
from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe

PATH = "images/{case}.png"
COLOURS = dict.fromkeys(("red", "green", "blue"), PATH)


def tree(channels: dict[str, str] = COLOURS, **parts: Any) -> dict[str, Any]:
    data = {"path": "x", "channels": channels, "label": "masks/{case}.png", "classes": {0: "sky", 1: "road"}}
    return {"name": "streets", "data": data, "sampling": {"depth": 1}, **parts}


def read(folder: Path, value: dict[str, Any]) -> Recipe:
    (folder / "streets.yaml").write_text(yaml.safe_dump(value))
    return load.load(str(folder / "streets.yaml"))


COLOUR = {"augment": {"saturation": 0.5, "hue": 0.05}}


@pytest.mark.parametrize(
    ("parts", "key", "told"),
    [
        (
            {"preprocess": {"spacing_px": [2, 2], "spacing_mm": [1, 1, 1]}},
            "preprocess.spacing_px",
            "keep spacing_px for images",
        ),
        (
            {"channels": {"em": PATH}, "preprocess": {"intensity": "imagenet"}},
            "preprocess.intensity",
            "imagenet scaling of 1 channel(s)",
        ),
        ({"channels": {"em": PATH}, "train": COLOUR}, "train.augment", "colour changes of 1 channel(s)"),
        ({"sampling": {"depth": 3}, "train": COLOUR}, "train.augment", "in slabs of 3"),
        (
            {"train": {"epochs": 6, "resizing": [{"epochs": 4, "scale": 0.5}]}},
            "train.resizing",
            "they last 4 epochs, train.epochs says 6",
        ),
        ({"predict": {"mode": "vote", "scales": [0.5, 1]}}, "predict.scales", "in mode vote"),
        (
            {"predict": {"mode": "tiles", "flip": True}},
            "predict.scales",
            "set predict.mode to dense or gaussian",
        ),
        ({"predict": {"scales": []}}, "predict.scales", "at least 1 item"),
        ({"preprocess": {"spacing_px": [2, 0]}}, "preprocess.spacing_px.1", "greater than 0"),
        ({"train": {"resizing": [{"epochs": 4, "scale": 1.5}]}}, "train.resizing.0.scale", "less than or"),
        ({"train": {"augment": {"hue": 0.6}}}, "train.augment.hue", "less than or equal to 0.5"),
        ({"train": {"augment": {"outside": "black"}}}, "train.augment.outside", "'mirror' or 'void'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, parts: dict[str, Any], key: str, told: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        read(tmp_path, tree(**parts))
    (problem,) = refused.value.problems
    assert problem.where.endswith(f": {key}")
    assert told in str(problem)


def test_keys_that_are_right_are_kept_and_saved(tmp_path: Path) -> None:
    parts = {
        "preprocess": {"spacing_px": [2, 1.5], "intensity": "imagenet", "crop": False},
        "sampling": {"depth": 1, "order": "shuffled", "window": [184, 240]},
        "train": {
            "epochs": 6,
            "resizing": [{"epochs": 4, "scale": 0.5}, {"epochs": 2, "scale": 1.0}],
            "monitor": "G",
            "augment": {"saturation": 0.5, "hue": 0.05, "outside": "void"},
        },
        "predict": {"scales": [0.75, 1, 1.25], "scale_fusion": "max", "flip": True},
    }
    recipe = read(tmp_path, tree(**parts))
    assert recipe.predict.scales == (0.75, 1.0, 1.25)
    load.save(recipe, tmp_path / "kept.yaml")
    assert load.load(str(tmp_path / "kept.yaml")) == recipe


def test_a_key_that_is_off_does_not_count_as_used(tmp_path: Path) -> None:
    recipe = read(tmp_path, tree())
    later = {
        "preprocess": {"spacing_px"},
        "sampling": {"order"},
        "predict": {"scales", "scale_fusion", "flip"},
        "train": {"resizing", "monitor"},
    }
    for name, keys in later.items():
        part = getattr(recipe, name)
        whole, used = part.model_dump(mode="json"), part.used()
        assert keys <= whole.keys()
        assert not keys & used.keys()
    assert not {"saturation", "hue", "outside"} & recipe.train.used()["augment"].keys()
    changed = read(tmp_path, tree(sampling={"order": "shuffled", "depth": 1}, train=COLOUR))
    assert changed.sampling.used()["order"] == "shuffled"
    assert changed.train.used()["augment"]["hue"] == 0.05
    assert recipe.network.used() == {"name": "usegnet", "keywords": {}}
