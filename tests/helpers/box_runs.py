"""Whole runs on tiny subjects: the recipe, its data and the call, for tests of the pipeline."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml

from medseg.console import Reporter
from medseg.errors import ExitCode
from pipelines import run as pipeline
from pipelines.run import Request

TRAIN: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "threads": 1, "device": "cpu"}


def recipe_tree(**parts: Any) -> dict[str, Any]:
    """A recipe for five labelled subjects of `make_subjects`, in two folds; `parts` replace its sections."""
    return {
        "name": "boxes",
        "data": {
            "layout": "patterns",
            "channels": {"t1": "{case}/{case}.nii.gz"},
            "label": "{case}/{case}_seg.nii.gz",
            "classes": {0: "background", 1: "outer", 2: "inner"},
            "splits": [
                {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3", "s4"]},
                {"train": ["s3", "s4"], "val": ["s2"], "test": ["s0", "s1"]},
            ],
        },
        "sampling": {"window": [16, 16]},
        "network": {"name": "usegnet", "keywords": {"width": 2}},
        "train": TRAIN,
        "tracking": {"enabled": False},
        **parts,
    }


def go(
    data: Path, work: Path, *settings: str, fold: str | None = None, parts: Any = None, **keywords: Any
) -> tuple[ExitCode, str]:
    """Run the recipe on `data` in `work`; the exit code and what was said."""
    recipe = work.parent / "boxes.yaml"
    recipe.write_text(yaml.safe_dump(recipe_tree(**(parts or {}))))
    stream = io.StringIO()
    request = Request(str(recipe), data, work, settings, fold)
    return pipeline.run(request, Reporter(stream=stream), **keywords), stream.getvalue()
