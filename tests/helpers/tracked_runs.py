"""Tracked runs on tiny subjects, for tests of MLflow's pages."""

from __future__ import annotations

import io
from pathlib import Path

import yaml

from medseg.console import Reporter
from pipelines import run as pipeline
from pipelines.run import Request
from tests.helpers.box_runs import TRAIN, recipe_tree
from tests.helpers.box_subjects import make_subjects


def track(place: Path, name: str, *settings: str, fold: str | None = None) -> Path:
    """Run the recipe of the boxes in `place/all/NAME`, and give that work folder."""
    if not (place / "data").is_dir():
        make_subjects(place / "data", labelled=5, unlabelled=1)
    recipe = place / "boxes.yaml"
    if not recipe.is_file():
        tree = recipe_tree(description="Two boxes, one in the other.", tracking={})
        tree["data"]["splits"] = tree["data"]["splits"][:1]
        tree["train"] = {**TRAIN, "epochs": 2, "steps_per_epoch": 3}
        recipe.write_text(yaml.safe_dump(tree))
    work = place / "all" / name
    pipeline.run(Request(str(recipe), place / "data", work, settings, fold), Reporter(stream=io.StringIO()))
    return work


def two_runs(place: Path) -> Path:
    """Make two runs of one recipe with different learning rates, and give the folder above them."""
    track(place, "second", "train.lr=0.02")
    return track(place, "first").parent
