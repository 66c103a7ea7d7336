"""Validation of one fold by whole volumes, and the overlay of its first case that is drawn on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from medseg import files
from medseg.classes import VOID
from medseg.grid import Array
from medseg.infer import inferers, loading
from medseg.infer.ensemble import MultiPlaneEnsemble, combine_planes
from medseg.infer.predictor import NetworkPredictor, Predictor
from medseg.report import volume_overlay
from medseg.volume import Volume
from pipelines.fold import validation
from pipelines.fold.fold import FoldTraining
from pipelines.fold.validation import DICE, LOSS
from pipelines.fold.validation_loss import loss_on_windows


def validator(training: FoldTraining) -> Callable[[nn.Module], dict[str, float]] | None:
    """Make the function that scores a network on whole volumes, on the prepared grids; None without cases.

    For images, or where it decides which weights are best, also mean IoU and accuracies over all their
    pixels. Beside the scores stands the loss on windows of the cases.
    """
    recipe, cases = training.recipe, training.cases.validation
    if not cases:
        return None
    classes, train = recipe.data.class_list(), recipe.train
    description = training.description(measured=False)
    spec = loading.spec(description, training.shape)
    images = cases[0].volume.grid.unit == "px"

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
            for plane in description.planes
        ]
        return combine_planes(along, description.ensemble)

    # The CRF and test-time augmentation come after training
    inferer = inferers.choose_inferer(description.model_copy(update={"crf": None}))
    score = validation.by_volumes(
        cases,
        classes,
        predictor,
        inferer,
        over_set=(images or training.plan.monitor != DICE) and not classes.multilabel,
        draw=(lambda labels: draw_overlay(training, labels)) if recipe.tracking.overlays else None,
    )
    mean_loss = loss_on_windows(training)
    return lambda network: {**score(network), LOSS: mean_loss(network)}


def overlay_path(training: FoldTraining) -> Path:
    """The figure of the first validation case at the latest validation."""
    ending = "jpg" if training.cases.validation[0].volume.grid.unit == "px" else "png"
    return training.folder / f"overlay.{ending}"


def draw_overlay(training: FoldTraining, labels: Array | None = None) -> None:
    """Write the first validation case's overlay with predicted `labels` (X, Y, Z), or none yet."""
    case, classes = training.cases.validation[0], training.recipe.data.class_list()
    image = Volume(case.volume.array, case.volume.grid)
    if labels is None:
        labels = np.full(case.volume.grid.shape, 0 if classes.zero_is_outside else VOID, np.uint8)
    figure = volume_overlay.overlay(image, classes, truth=np.asarray(case.label), prediction=labels)
    files.write_bytes(overlay_path(training), figure)
