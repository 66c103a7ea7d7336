"""What clashes among the keys of a recipe where there are several planes, or one alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medseg.config.section import Clash

if TYPE_CHECKING:
    from medseg.config.recipe import Recipe


def clashes(recipe: Recipe) -> Iterator[Clash]:
    """Values of a recipe that are right each by itself but not together."""
    sampling = recipe.sampling
    if len(sampling.planes) == 1:
        if sampling.plane_networks == "separate":
            found = "separate networks for one plane"
            how_to_fix = "name several planes, or leave it out"
            yield Clash(("sampling.plane_networks", "sampling.plane"), found, how_to_fix)
        return
    if recipe.loss.weight_map is not None:
        found = "weight maps are made for the slices of one plane"
        yield Clash(("loss.weight_map", "sampling.plane"), found, "name one plane, or leave the map out")
    if recipe.preprocess.spacing_px is not None:
        found = "several planes, but spacing_px is for images"
        yield Clash(("sampling.plane", "preprocess.spacing_px"), found, "take axial for images")
