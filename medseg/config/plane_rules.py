"""Clashes among the keys of a recipe that name planes, or directions within them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from medseg.config.section import Clash
from medseg.ingest.imagesets import ImageSet
from medseg.io import scans
from medseg.patches.slabs import IMAGE_FLIPS, SCAN_FLIPS, flip_axis

if TYPE_CHECKING:
    from medseg.config.recipe import Recipe


def clashes(recipe: Recipe) -> Iterator[Clash]:
    """Values of a recipe that are right each by itself but not together."""
    sampling = recipe.sampling
    yield from _flips(recipe)
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


def _flips(recipe: Recipe) -> Iterator[Clash]:
    """Flips that lie in none of the planes, and flips of scans where the data are images, or the reverse."""
    flips, planes, unit = recipe.train.augment.flip, recipe.sampling.planes, _unit(recipe)
    usable = {"mm": SCAN_FLIPS, "px": IMAGE_FLIPS}.get(unit or "", flips)
    if foreign := [name for name in flips if name not in usable]:
        kind = "images" if unit == "px" else "scans"
        how_to_fix = f"for {kind} use {', '.join(usable)}"
        yield Clash(("train.augment.flip", "data"), f"{', '.join(foreign)} of {kind}", how_to_fix)
        return
    inside = [name for name in SCAN_FLIPS if any(flip_axis(name, plane) for plane in planes)]
    if across := [name for name in flips if name in SCAN_FLIPS and name not in inside]:
        details = f"{', '.join(across)} runs across the {' and '.join(planes)} slices"
        yield Clash(("train.augment.flip", "sampling.plane"), details, f"use {' or '.join(inside)}")


def _unit(recipe: Recipe) -> scans.Unit | None:
    """Unit of the recipe's data as far as the recipe says it: px for images, mm for scans."""
    data, preprocess = recipe.data, recipe.preprocess
    if data.layout in get_args(ImageSet) or preprocess.spacing_px is not None:
        return "px"
    if preprocess.spacing_mm is not None:
        return "mm"
    files = [pattern.lower() for pattern in data.channels.values()]
    units = {unit for unit, suffixes in scans.SUFFIXES_OF.items() if any(f.endswith(suffixes) for f in files)}
    return units.pop() if len(units) == 1 else None
