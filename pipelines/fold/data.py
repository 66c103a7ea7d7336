"""The cases of a fold, and the training batches that are drawn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from medseg.classes import ClassList
from medseg.config.recipe import Recipe
from medseg.ingest.splits import SplitRow
from medseg.losses.class_weights import median_frequency
from medseg.networks.contract import Network
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resize import Resizer
from medseg.patches.sampler import PatchSampler
from medseg.preprocess import store, weightmap
from medseg.preprocess.store import PreprocessedCase
from pipelines import case_tables
from pipelines.workfolder import Work


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
        for name in names:
            if name not in self._opened:
                self._opened[name] = store.open(self._work.prepared / name)
        return [self._opened[name] for name in names]

    @cached_property
    def _roles(self) -> Sequence[SplitRow]:
        return case_tables.roles(self._work.ingest)


@dataclass(frozen=True, eq=False)
class Batches:
    """Training batches: windows that `sampler` cuts, and `augment` changes on the device."""

    sampler: PatchSampler
    augment: Augmenter | Resizer
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
    settings = Augmentation(**train.augment.model_dump(exclude={"outside"}))
    augmenter = Augmenter(settings, sampling.window, train.batch, train.seed)
    sampler = PatchSampler(
        cases,
        sampling.plane,
        sampling.depth,
        sampling.window,
        train.batch,
        train.seed,
        sampling.foreground_oversampling,
        augmenter.field,
        extras=() if recipe.loss.weight_map is None else (weightmap.NAME,),
        boxes=augmenter.boxes,
        border=network.border,
        background=recipe.data.class_list().background,
        order=sampling.order,
        outside=train.augment.outside,
    )
    steps = sampler.steps_shuffled if sampling.order == "shuffled" else train.steps_per_epoch
    stages = [(size.epochs, size.scale) for size in train.resizing]
    augment = Resizer(augmenter, stages, steps, network.size_from) if stages else augmenter
    return Batches(sampler, augment, steps)


def class_weights(recipe: Recipe, cases: Sequence[PreprocessedCase]) -> list[float] | None:
    """Give the loss's class weights: as stated, by median frequency over training cases, or None."""
    stated = recipe.loss.class_weights
    if stated == "none":
        return None
    if stated == "median_frequency":
        classes = len(recipe.data.class_list())
        counts = [[case.counts.get(k, 0) for k in range(classes)] for case in cases]
        pixels = [math.prod(case.ready.grid.shape) for case in cases]
        return [round(float(w), 6) for w in median_frequency(np.array(counts), np.array(pixels))]
    return list(stated)


def absent_classes(cases: Sequence[PreprocessedCase], classes: ClassList) -> list[str]:
    """Name the foreground classes (or masks) of which no case has a labelled voxel."""
    present = {index for case in cases for index, n in case.counts.items() if n}
    return [classes.names[index] for index in classes.foreground if index not in present]
