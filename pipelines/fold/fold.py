"""One fold's training, put together from the recipe: cases, batches, network, loss, plan, validation.

Everything is made anew from plain values, so that several processes can each make their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from medseg import device, files, losses
from medseg.config.recipe import Recipe
from medseg.grid import Plane
from medseg.ingest.layouts import PATTERNED
from medseg.model.description import Description, FilePatterns
from medseg.networks.contract import Network
from medseg.train.plan import FitPlan
from medseg.train.state import LAST
from pipelines.fold import data, initial_weights, model_spec, plan, settings
from pipelines.fold.data import Batches, FoldCases, PreparedCases
from pipelines.fold.network import build_network, network_without_weights
from pipelines.workfolder import Work, member_name


@dataclass(frozen=True)
class FoldTraining:
    """One training of a recipe: a fold, or with one network per plane a fold along one ``plane``.

    ``prepared`` are the work folder's cases, shared by the trainings of a command; they do not travel to
    other processes: ``replace(training, prepared=None)`` does.
    """

    recipe: Recipe
    work: Work
    fold: int
    plane: Plane | None = None
    prepared: PreparedCases | None = field(default=None, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """The folder of checkpoints and history."""
        return self.work.train(self.fold, self.plane)

    @property
    def member(self) -> str:
        """The training's name in the model folder."""
        return member_name(self.fold, self.plane)

    @property
    def title(self) -> str:
        """The training's name for people: `fold 0`, or `fold 0, axial`."""
        return f"fold {self.fold}" + (f", {self.plane}" if self.plane else "")

    @cached_property
    def cases(self) -> FoldCases:
        """Prepared cases; of those for validation the first `train.validate_cases` if that is set."""
        prepared = self.prepared or PreparedCases(self.work)
        validated = prepared.of_role(self.fold, "val")[: self.recipe.train.validate_cases or None]
        return FoldCases(prepared.of_role(self.fold, "train"), validated)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that decide the weights, by key."""
        return self.recipe_settings | settings.of_cases(self.recipe, self.fold, self.cases)

    @property
    def recipe_settings(self) -> dict[str, Any]:
        """Those of the settings that need no cases."""
        return settings.of_recipe(self.recipe, self.member, self.folder)

    @property
    def key(self) -> str:
        """The hash of all settings that decide the weights."""
        return files.sha256_of_value(self.settings)

    @property
    def shape(self) -> Network:
        """The network without memory, for its names and sizes."""
        return network_without_weights(self.recipe, len(self.cases.train[0].volume.array))

    @cached_property
    def batches(self) -> Batches:
        """Batch t, and what changes it."""
        return data.batches(self.recipe, self.cases.train, self.shape)

    @cached_property
    def plan(self) -> FitPlan:
        """The recipe's training section as the loop takes it."""
        monitor = plan.monitor(self.recipe, self.cases.train[0].volume.grid.unit)
        return plan.fit_plan(self.recipe, self.shape, self.batches.steps_per_epoch, monitor, self.key)

    def initial_network(self) -> tuple[Network, initial_weights.Taken | None]:
        """Build the network as the first step finds it, and say what it starts from.

        Where a checkpoint stands, the loop takes its weights from there.
        """
        network = build_network(self.recipe, len(self.cases.train[0].volume.array))
        if (self.folder / LAST).exists():
            return network, None
        return network, initial_weights.load_initial(network, self.recipe.network, self.work, self.member)

    def description(self, *, measured: bool = True) -> Description:
        """Describe this training's network for the model folder; ingest found the channels and unit.

        If `measured`, with the domain of the training cases, for which their grey values are read.
        """
        dataset = files.read_json(self.work.ingest / "dataset.json")
        foreground = self.recipe.preprocess.foreground
        classes = self.recipe.data.class_list()
        trained_on = model_spec.domain_of(self.cases.train, foreground, classes) if measured else {}
        description = model_spec.described(self.recipe, trained_on)
        known: dict[str, Any] = {"channels": tuple(dataset["channels"]), "unit": dataset.get("unit", "mm")}
        if dataset["layout"] in PATTERNED:
            known["files"] = FilePatterns(**dataset.get("patterns", {}))
        return description.model_copy(update=known)

    def arguments(self, network: Network | None = None) -> dict[str, Any]:
        """Make the arguments of :func:`medseg.train.fit.fit`, but for `on_step` and `validate`.

        Without `network`, the initial one is built.
        """
        if self.recipe.train.threads:
            torch.set_num_threads(device.threads(self.recipe.train.threads))
        weights = data.class_weights(self.recipe, self.cases.train)
        network = network or self.initial_network()[0]
        loss = losses.build(self.recipe.loss.name, weights, **self.recipe.loss.keywords)
        loss.head_weights = network.head_weights
        return {
            "network": network,
            "draw": self.batches.sampler,
            "loss": loss,
            "plan": self.plan,
            "folder": self.folder,
            "augment": self.batches.augment,
        }


def fold_trainings(
    recipe: Recipe, work: Work, fold: int, prepared: PreparedCases | None = None
) -> Iterator[FoldTraining]:
    """Give all trainings of a fold: one, or one per plane, each as by the recipe of that plane alone."""
    if recipe.sampling.plane_networks == "shared":
        yield FoldTraining(recipe, work, fold, prepared=prepared)
        return
    for plane in recipe.sampling.planes:
        alone = recipe.sampling.model_copy(update={"plane": plane, "plane_networks": "shared"})
        yield FoldTraining(recipe.model_copy(update={"sampling": alone}), work, fold, plane, prepared)
