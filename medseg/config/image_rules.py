"""What clashes among the keys of a recipe that are for images, or for training windows of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medseg.config.section import Clash

if TYPE_CHECKING:
    from medseg.config.recipe import Recipe


def clashes(recipe: Recipe) -> Iterator[Clash]:
    """Values of a recipe that are right each by itself but not together."""
    how, train, predict = recipe.preprocess, recipe.train, recipe.predict
    if how.spacing_px is not None and how.spacing_mm is not None:
        keys = ("preprocess.spacing_px", "preprocess.spacing_mm")
        yield Clash(keys, "both are given", "keep spacing_px for images, spacing_mm for scans")
    yield from _colours(recipe)
    planned = sum(size.epochs for size in train.resizing)
    if train.resizing and planned != train.epochs:
        found = f"they last {planned} epochs, train.epochs says {train.epochs}"
        yield Clash(("train.resizing", "train.epochs"), found, "make both equal")
    if (predict.scales != (1.0,) or predict.flip) and predict.mode in ("vote", "tiles"):
        found = f"several scales or flips by mode {predict.mode}"
        yield Clash(("predict.scales", "predict.flip", "predict.mode"), found, "set it to dense or gaussian")


def _colours(recipe: Recipe) -> Iterator[Clash]:
    """Keys for three colours where there are others; a layout may name the channels instead of the recipe."""
    named, depth = len(recipe.data.channels), recipe.sampling.depth
    three = named in (0, 3)
    if recipe.preprocess.intensity == "imagenet" and not three:
        keys = ("preprocess.intensity", "data.channels")
        yield Clash(keys, f"imagenet scaling of {named} channel(s)", "name three colours, or use zscore")
    if recipe.train.augment.colour and not (three and depth == 1):
        found = f"colour changes of {named or 'unnamed'} channel(s) in slabs of {depth}"
        how_to_fix = "use three colours at sampling.depth 1, or leave saturation and hue out"
        yield Clash(("train.augment", "data.channels", "sampling.depth"), found, how_to_fix)
