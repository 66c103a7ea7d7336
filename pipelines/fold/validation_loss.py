"""The training's loss on the validation cases, to be drawn beside the training loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from medseg import losses
from medseg.grid import centre_crop
from medseg.patches.sampler import PatchSampler
from pipelines.fold import data
from pipelines.fold.fold import FoldTraining

_SHARE = 16
_MOST = 8


def loss_on_windows(training: FoldTraining) -> Callable[[nn.Module], float]:
    """Make the function that gives a network's mean loss over windows of the validation cases.

    The windows are drawn as in training, but they are the same at every validation, and nothing is augmented.
    There are a sixteenth of an epoch's batches, at most eight.
    """
    recipe, sampling = training.recipe, training.recipe.sampling
    sampler = PatchSampler(
        training.cases.validation,
        sampling.plane,
        sampling.depth,
        sampling.window,
        recipe.train.batch,
        recipe.train.seed,
        sampling.foreground_oversampling,
        extras=data.weight_maps(recipe),
        border=training.shape.border,
        background=recipe.data.class_list().background,
    )
    weights = data.class_weights(recipe, training.cases.train)
    loss = losses.build(recipe.loss.name, weights, **recipe.loss.keywords)
    batches = min(_MOST, max(1, training.batches.steps_per_epoch // _SHARE))

    def mean_loss(network: nn.Module) -> float:
        device = next(network.parameters()).device
        on_device, total = loss.to(device), 0.0
        for t in range(batches):
            patches, *truth = (torch.as_tensor(array).to(device) for array in sampler(t))
            logits = network(patches)
            total += float(on_device(logits, *(centre_crop(array, logits.shape) for array in truth)))
        return total / batches

    return mean_loss
