"""The cases of a fold, and the training batches that are drawn from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import Tensor

from medseg.config.recipe import Recipe
from medseg.errors import Code, MedsegError
from medseg.ingest.splits import SplitRow
from medseg.losses.class_weights import median_frequency
from medseg.networks.contract import Network, SideRule
from medseg.patches.artefacts import ArtefactAugmenter, Artefacts
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resize import Resizer
from medseg.patches.sampler import PatchSampler
from medseg.patches.slabs import IMAGE_FLIPS, SCAN_FLIPS, pixel_shape
from medseg.preprocess import instances, store, weightmap
from medseg.preprocess.store import PreprocessedCase
from medseg.resources import allow_open_files
from pipelines import case_tables
from pipelines.workfolder import Work

_FILES_A_CASE = 4  # image, label, a weight map and numbers of objects stay mapped


class FoldCases(NamedTuple):
    """Prepared cases of one fold."""

    train: list[PreprocessedCase]
    validation: list[PreprocessedCase]


class PreparedCases:
    """Prepared cases of a work folder; each is opened once, however many folds and planes use it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._opened: dict[str, PreprocessedCase] = {}

    def of_role(self, fold: int, role: str) -> list[PreprocessedCase]:
        """Open the cases that have a role (train, val) in a fold, in the order of splits.csv."""
        names = [r.case for r in self._roles if r.fold == fold and r.role == role]
        unopened = [name for name in names if name not in self._opened]
        allow_open_files(_FILES_A_CASE * len(unopened))
        self._opened |= {name: store.open(self._work.prepared / name) for name in unopened}
        return [self._opened[name] for name in names]

    @cached_property
    def _roles(self) -> Sequence[SplitRow]:
        return case_tables.roles(self._work.ingest)


@dataclass(frozen=True, eq=False)
class Batches:
    """Training batches: windows that `sampler` cuts, and `augment` changes on the device."""

    sampler: PatchSampler
    augment: Callable[..., tuple[Tensor, ...]]
    steps_per_epoch: int

    def relative_steps(self, epochs: int) -> float:
        """Count the steps, those of smaller windows by their area against the first epoch's."""
        if not isinstance(self.augment, Resizer):
            return epochs * self.steps_per_epoch
        areas = [math.prod(self.augment.size(self.sampler.window, epoch)) for epoch in range(epochs)]
        return self.steps_per_epoch * sum(areas) / areas[0]


def batches(recipe: Recipe, cases: Sequence[PreprocessedCase], network: Network) -> Batches:
    """Put together how the recipe draws and changes windows of training cases for a network."""
    sampling, train = recipe.sampling, recipe.train
    batch = train.batch * train.accumulate  # of a step: its parts are rows of it
    augmenter = make_augmenter(recipe, cases)
    sampler = PatchSampler(
        cases,
        sampling.plane,
        sampling.depth,
        sampling.window,
        batch,
        train.seed,
        0.0 if recipe.reconstructs else sampling.foreground_oversampling,
        augmenter.field,
        extras=(*weight_maps(recipe), *((instances.NAME,) if recipe.data.instances else ())),
        boxes=augmenter.boxes,
        border=network.border,
        background=recipe.data.class_list().background,
        order=sampling.order,
        outside=train.augment.outside,
        placed=augmenter.placed,
        needs_labels=not recipe.reconstructs,
    )
    values = train.augment.model_dump()
    artefacts = Artefacts(**{f.name: values[f.name] for f in fields(Artefacts)})
    augment: Callable[..., tuple[Tensor, ...]] = augmenter
    if artefacts.any:
        augment = ArtefactAugmenter(augmenter, artefacts, batch, train.seed)
    steps = sampler.steps_shuffled if sampling.order == "shuffled" else train.steps_per_epoch
    stages = [(size.epochs, size.scale) for size in train.resizing]
    if stages:
        augment = Resizer(augment, stages, steps, SideRule.of(network).size_from)
    return Batches(sampler, augment, steps)


def weight_maps(recipe: Recipe) -> tuple[str, ...]:
    """Give the names of the extra arrays that the loss takes."""
    return () if recipe.loss.weight_map is None else (weightmap.NAME,)


def make_augmenter(recipe: Recipe, cases: Sequence[PreprocessedCase]) -> Augmenter:
    """Make the recipe's augmenter for slices of training cases. Raises KEYWORD_INVALID for foreign flips."""
    train, planes = recipe.train, recipe.sampling.planes
    values = train.augment.model_dump()
    settings = Augmentation(**{f.name: values[f.name] for f in fields(Augmentation)})
    images = cases[0].volume.grid.unit == "px"
    usable = IMAGE_FLIPS if images else SCAN_FLIPS
    if foreign := [name for name in settings.flip if name not in usable]:
        details = f"{', '.join(foreign)} of {'images' if images else 'scans'}"
        raise MedsegError(Code.KEYWORD_INVALID, "train.augment.flip", details, f"use {', '.join(usable)}")
    pixels = {pixel_shape(case.volume.grid, plane) for case in cases for plane in planes}
    batch = train.batch * train.accumulate
    return Augmenter(
        settings,
        recipe.sampling.window,
        batch,
        train.seed,
        planes,
        tuple(sorted(pixels)),
        instances=recipe.data.instances,
        reconstructs=recipe.reconstructs,
    )


def turns_oblong_pixels(recipe: Recipe, cases: Sequence[PreprocessedCase]) -> bool:
    """Report true if augmentation moves pixels of slices in which they are not square."""
    if not cases:
        return False
    augmenter = make_augmenter(recipe, cases)
    moves = augmenter.settings.resamples or augmenter.settings.elastic_px > 0
    return moves and augmenter.pixels != ((1.0, 1.0),)


def class_weights(recipe: Recipe, cases: Sequence[PreprocessedCase]) -> list[float] | None:
    """Give the loss's class weights: as stated, by median frequency over training cases, or None."""
    stated = recipe.loss.class_weights
    if stated == "none":
        return None
    if stated == "median_frequency":
        classes = len(recipe.data.class_list())
        counts = [[case.counts.get(k, 0) for k in range(classes)] for case in cases]
        pixels = [math.prod(case.volume.grid.shape) for case in cases]
        return [round(float(w), 6) for w in median_frequency(np.array(counts), np.array(pixels))]
    return list(stated)
