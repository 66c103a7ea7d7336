"""One fold's training, put together from the recipe: cases, network, loss, plan, whole-volume validation.

Everything is made anew from plain values, so that several processes can each make their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg import files, losses, networks
from medseg.classes import VOID
from medseg.config.recipe import Recipe
from medseg.device import choose
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Plane
from medseg.infer import inferers, loading, predict
from medseg.infer.ensemble import MultiPlaneEnsemble, combine_planes
from medseg.infer.predictor import NetworkPredictor, Predictor
from medseg.losses.base import Loss
from medseg.losses.class_weights import median_frequency
from medseg.model.description import Description
from medseg.networks.contract import Network
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resize import Resizer
from medseg.patches.sampler import PatchSampler
from medseg.patches.slabs import IMAGE_FLIPS, SCAN_FLIPS, pixel_shape
from medseg.preprocess import store, weightmap
from medseg.preprocess.store import PreprocessedCase
from medseg.report import volume_overlay
from medseg.resources import allow_open_files
from medseg.train.fit import LAST
from medseg.train.monai_augment import ArtefactAugmenter, Artefacts
from medseg.train.optim import Optimiser, Phase
from medseg.train.plan import FitPlan
from medseg.volume import Volume
from pipelines import case_tables
from pipelines.fold import initial_weights, model_spec, validation
from pipelines.fold.validation import DICE, IOU
from pipelines.workfolder import Work, member_name

_FILES_A_CASE = 3  # image, label and a weight map stay mapped


@dataclass(frozen=True)
class FoldTraining:
    """A fold of a recipe in a work folder; with a network a plane, one ``plane`` by a recipe of its own."""

    recipe: Recipe
    work: Work
    fold: int
    plane: Plane | None = None

    @property
    def folder(self) -> Path:
        """Checkpoints and history."""
        return self.work.train(self.fold, self.plane)

    @property
    def member(self) -> str:
        """What it is called in the model folder."""
        return member_name(self.fold, self.plane)

    def arguments(self) -> dict[str, Any]:
        """The arguments of :func:`medseg.train.fit.fit`, but for `on_step`."""
        if self.recipe.train.threads:
            torch.set_num_threads(self.recipe.train.threads)
        return {
            "network": self.initial_network()[0],
            "draw": self.drawer,
            "loss": self.loss(),
            "plan": self.plan(),
            "folder": self.folder,
            "validate": self.validation() if self.validated else None,
            "augment": self.resizer or self.augment,
        }

    @cached_property
    def trained(self) -> list[PreprocessedCase]:
        """PreprocessedCase training cases."""
        return self._open("train")

    @cached_property
    def validated(self) -> list[PreprocessedCase]:
        """PreprocessedCase validation cases; the first `train.validate_cases` if that is set."""
        cases = self._open("val")
        return cases[: self.recipe.train.validate_cases or None]

    def _open(self, role: str) -> list[PreprocessedCase]:
        rows = case_tables.roles(self.work.ingest)
        names = [r.case for r in rows if r.fold == self.fold and r.role == role]
        allow_open_files(_FILES_A_CASE * len(names))
        return [store.open(self.work.prepared / name) for name in names]

    def key(self) -> str:
        """The hash of everything that decides the weights."""
        recipe = self.recipe
        where = ("device", "threads")  # where it runs is not what it is
        train = {k: v for k, v in recipe.train.used().items() if k not in where}
        used: dict[str, Any] = {p: getattr(recipe, p).used() for p in ("sampling", "loss")}
        used["network"] = initial_weights.settings(recipe.network, self.member, self.folder)
        if recipe.data.void and recipe.loss.class_weights == "median_frequency":
            used["class_weights"] = self.class_weights()  # void counts in them, not in the records
        moves = self.augmenter.settings.resamples or self.augmenter.settings.elastic_px > 0
        if moves and self.augmenter.pixels != ((1.0, 1.0),):
            used["pixels"] = self.augmenter.pixels  # turned in mm; earlier versions turned them in pixels
        cases = [
            [c.name, files.sha256(self.work.prepared / c.name / "record.json")]
            for c in (*self.trained, *self.validated)
        ]
        return files.sha256_of_value([used, train, self.recipe.data.class_list().to_json(), self.fold, cases])

    def network(self) -> Network:
        """The network with fresh weights, the same for the same seed."""
        how, classes = self.recipe.network, self.recipe.data.class_list()
        return networks.build(
            how.name,
            self.channels,
            len(classes),
            seed=self.recipe.train.seed,
            multilabel=classes.multilabel,
            **how.keywords,
        )

    def initial_network(self) -> tuple[Network, str | None]:
        """The network as the first step finds it, and what it starts from in words.

        Where a checkpoint stands, the loop takes its weights from there.
        """
        network = self.network()
        if (self.folder / LAST).exists():
            return network, None
        return network, initial_weights.begin(network, self.recipe.network, self.work, self.member)

    @property
    def channels(self) -> int:
        """Channels of the network's input: the image's times the slab's depth."""
        return len(self.trained[0].ready.array) * self.recipe.sampling.depth

    @property
    def classes(self) -> int:
        """Classes, background included; or overlapping masks."""
        return len(self.recipe.data.class_list())

    @cached_property
    def augmenter(self) -> Augmenter:
        """Random changes of batch t."""
        train, window = self.recipe.train, self.recipe.sampling.window
        values = train.augment.model_dump(exclude={"outside"})
        settings = Augmentation(**{f.name: values[f.name] for f in fields(Augmentation)})
        usable = IMAGE_FLIPS if self._images else SCAN_FLIPS
        if foreign := [name for name in settings.flip if name not in usable]:
            details = f"{', '.join(foreign)} of {'images' if self._images else 'scans'}"
            raise MedsegError(Code.KEYWORD_INVALID, "train.augment.flip", details, f"use {', '.join(usable)}")
        planes = self.recipe.sampling.planes
        pixels = {pixel_shape(case.ready.grid, plane) for case in self.trained for plane in planes}
        return Augmenter(settings, window, train.batch, train.seed, planes, tuple(sorted(pixels)))

    @cached_property
    def augment(self) -> Callable[..., tuple[Tensor, ...]]:
        """All changes of batch t: by the augmenter, then MONAI's, then to the size of its epoch."""
        train = self.recipe.train
        values = train.augment.model_dump()
        artefacts = Artefacts(**{f.name: values[f.name] for f in fields(Artefacts)})
        if artefacts.any:
            return ArtefactAugmenter(self.augmenter, artefacts, train.batch, train.seed)
        return self.augmenter

    @cached_property
    def resizer(self) -> Resizer | None:
        """What brings augmented windows to the size of their epoch, if that changes."""
        stages = [(size.epochs, size.scale) for size in self.recipe.train.resizing]
        if not stages:
            return None
        with torch.device("meta"):
            size_from = self.network().size_from
        return Resizer(self.augment, stages, self.steps_per_epoch, size_from)

    @property
    def steps_per_epoch(self) -> int:
        """Given, or as many as use every training case once."""
        return self.drawer.steps_shuffled if self._shuffled else self.recipe.train.steps_per_epoch

    def relative_steps(self) -> float:
        """The steps of the training, those of smaller windows counted by their area against the first's."""
        plan = self.plan()
        if self.resizer is None:
            return plan.steps
        window = self.recipe.sampling.window
        areas = [math.prod(self.resizer.size(window, epoch)) for epoch in range(plan.epochs)]
        return plan.steps_per_epoch * sum(areas) / areas[0]

    @property
    def _shuffled(self) -> bool:
        return self.recipe.sampling.order == "shuffled"

    @cached_property
    def drawer(self) -> PatchSampler:
        """Batch t, cut large enough for the augmenter."""
        how, train = self.recipe.sampling, self.recipe.train
        with torch.device("meta"):
            border = self.network().border
        return PatchSampler(
            self.trained,
            how.plane,
            how.depth,
            how.window,
            train.batch,
            train.seed,
            how.foreground_oversampling,
            self.augmenter.field,
            () if self.recipe.loss.weight_map is None else (weightmap.NAME,),
            self.augmenter.boxes,
            border,
            background=self.recipe.data.class_list().background,
            order=how.order,
            outside=train.augment.outside,
            placed=self.augmenter.placed,
        )

    def loss(self) -> Loss:
        """The recipe's loss, its class weights from the training cases where asked for."""
        weights = self.class_weights()
        return losses.build(self.recipe.loss.name, weights, **self.recipe.loss.keywords)

    def class_weights(self) -> list[float] | None:
        """Given, by median frequency over the training cases, or None."""
        asked = self.recipe.loss.class_weights
        if asked == "none":
            return None
        if asked == "median_frequency":
            counts = [[c.counts.get(k, 0) for k in range(self.classes)] for c in self.trained]
            pixels = [math.prod(c.ready.grid.shape) for c in self.trained]
            return [round(float(w), 6) for w in median_frequency(np.array(counts), np.array(pixels))]
        return list(asked)

    def plan(self) -> FitPlan:
        """The recipe's training section as the loop takes it."""
        t = self.recipe.train
        return FitPlan(
            epochs=t.epochs,
            steps_per_epoch=self.steps_per_epoch,
            lr=t.lr,
            optimiser=Optimiser(t.optimiser, t.weight_decay, t.momentum),
            schedule=t.schedule,
            warmup_steps=t.warmup_steps,
            phases=tuple(Phase(p.epochs, p.lr, p.layers) for p in t.phases),
            clip=t.clip,
            precision=t.precision,
            device=choose(t.device),
            processes=t.processes,
            channels_last=t.channels_last,
            compile=t.compile,
            validate_every=t.validate_every,
            patience=t.patience,
            monitor=self.best_by,
            seed=t.seed,
            identity={"training": self.key()},
        )

    @property
    def best_by(self) -> str:
        """Which number of validation says what is best: mean Dice for scans, mean IoU for images."""
        asked = self.recipe.train.monitor
        if asked != "auto":
            return asked
        return IOU if self._images and not self.recipe.data.class_list().multilabel else DICE

    @property
    def _images(self) -> bool:
        return self.trained[0].ready.grid.unit == "px"

    def validation(self) -> Callable[[nn.Module], dict[str, float]]:
        """Scores from whole volumes, on the prepared grids; the first case is drawn on the way.

        For images, or where it decides what is best, also mean IoU and accuracies over all their pixels.
        """
        classes = self.recipe.data.class_list()
        about, train = self.description(), self.recipe.train
        spec = loading.spec(about, self.network())
        tells_of_set = (self._images or self.best_by != DICE) and not classes.multilabel

        def predictor(network: nn.Module) -> Predictor | MultiPlaneEnsemble:
            device = next(network.parameters()).device
            along = [
                NetworkPredictor(
                    network,
                    replace(spec, plane=plane),
                    device,
                    train.precision,
                    channels_last=train.channels_last,
                )
                for plane in about.planes
            ]
            return combine_planes(along, about.ensemble)

        # The CRF comes after training, and so do views
        how = inferers.choose_inferer(about.model_copy(update={"crf": None}))
        draw = self.draw if self.recipe.tracking.overlays else None
        return validation.by_volumes(
            self.validated, classes, predictor, how, over_set=tells_of_set, draw=draw
        )

    def draw(self, labels: Array | None = None) -> None:
        """Write the first validation case's overlay with predicted `labels` (X, Y, Z), or none yet."""
        case = self.validated[0]
        image, classes = Volume(case.ready.array, case.ready.grid), self.recipe.data.class_list()
        if labels is None:
            labels = np.full(case.ready.grid.shape, 0 if classes.zero_is_outside else VOID, np.uint8)
        picture = volume_overlay.overlay(image, classes, truth=np.asarray(case.label), prediction=labels)
        files.write_bytes(self.overlay, picture)

    @property
    def overlay(self) -> Path:
        """The picture of the first validation case at the latest validation."""
        ending = "jpg" if self.validated[0].ready.grid.unit == "px" else "png"
        return self.folder / f"overlay.{ending}"

    def description(self) -> Description:
        """What the model folder says of this training's network; ingest found the channels and unit."""
        found = files.read_json(self.work.ingest / "dataset.json")
        about = model_spec.described(
            self.recipe, model_spec.domain_of(self.trained, self.recipe.preprocess.foreground)
        )
        known = {"channels": tuple(found["channels"]), "unit": found.get("unit", "mm")}
        return about.model_copy(update=known)


def check_sizes(recipe: Recipe, network: Network) -> None:
    """Refuse what the recipe's network cannot be trained on, or predicted by, before anything runs.

    Raises SIZE_IMPOSSIBLE, with the size to use, and KEYWORD_INVALID.
    """
    window = recipe.sampling.window
    usable = network.size_from(window[0]), network.size_from(window[1])
    if usable != window:
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE,
            "sampling.window",
            f"{window[0]}×{window[1]} px is no input of {recipe.network.name}",
            f"use [{usable[0]}, {usable[1]}]",
        )
    about = model_spec.described(recipe, {})
    predict.check(inferers.choose_inferer(about), loading.spec(about, network))
