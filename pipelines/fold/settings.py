"""Settings that decide the weights of a fold's training, by key: of the recipe, and of the fold's cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config.recipe import Recipe
from medseg.config.training import PLANNED
from pipelines.fold import data, initial_weights
from pipelines.fold.data import FoldCases

CASES = ("training cases", "validation cases")
OF_CASES = ("fold", "class weights", "turned in mm")
"""Names of settings that follow from the fold's cases."""

WHERE_IT_RUNS = ("device", "threads", "compile", "channels_last", "draw_from")
"""Keys of `train` that say where and how fast it runs, not what is trained."""


def of_recipe(recipe: Recipe, member: str, folder: Path) -> dict[str, Any]:
    """Give the recipe's settings that decide a member's weights, by key (`train.lr`).

    What its weights start from stands in `folder` once the training has begun.
    """
    parts: dict[str, Any] = {
        "sampling": recipe.sampling.used(),
        "network": initial_weights.settings(recipe.network, member, folder),
        "loss": recipe.loss.used(),
        "train": {k: v for k, v in recipe.train.used().items() if k not in WHERE_IT_RUNS},
    }
    if recipe.train.minutes is not None:
        parts["train"] |= {key: getattr(recipe.train, key) for key in PLANNED}
    rows = recipe.data.class_list().to_json()
    classes = [{k: v for k, v in row.items() if k != "colour"} for row in rows]
    return {**by_key(parts), "data.classes": classes}


def of_cases(recipe: Recipe, fold: int, cases: FoldCases) -> dict[str, Any]:
    """Give the number of a fold, its cases by the hash of their records, and what follows from these."""
    settings: dict[str, Any] = {"fold": fold}
    if recipe.data.void and recipe.loss.class_weights == "median_frequency":
        # Void counts in them, not in the records
        settings["class weights"] = data.class_weights(recipe, cases.train)
    if data.turns_oblong_pixels(recipe, cases.train):
        settings["turned in mm"] = True  # earlier versions turned oblong pixels as if they were square
    for name, of_role in zip(CASES, cases, strict=True):
        settings[name] = {case.name: case.sha256 for case in of_role}
    return settings


def by_key(parts: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Flatten a tree to dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in parts.items():
        if isinstance(value, dict):
            flat |= by_key(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat
