"""The recipe's training section as the loop takes it."""

from __future__ import annotations

from medseg.config.recipe import Recipe
from medseg.device import choose
from medseg.errors import Code, MedsegError
from medseg.networks.contract import Network
from medseg.networks.tools.layers import in_order
from medseg.train.optim import Optimiser, Phase, Plateau
from medseg.train.plan import FitPlan
from medseg.train.unfreeze import layer_by_layer
from pipelines.fold.validation import DICE, EXPLAINED, IOU


def fit_plan(recipe: Recipe, network: Network, steps_per_epoch: int, monitor: str, key: str) -> FitPlan:
    """Give the plan of one fold's network, which may lie on ``meta``.

    `key` is the hash of everything that decides its weights. Raises as :func:`phases` does, and
    KEYWORD_INVALID where weights are to be kept at a step that never comes.
    """
    t = recipe.train
    return FitPlan(
        epochs=t.epochs,
        steps_per_epoch=steps_per_epoch,
        lr=t.lr,
        optimiser=optimiser(recipe),
        schedule=t.schedule,
        warmup_steps=t.warmup_steps,
        plateau=Plateau(t.plateau.patience, t.plateau.factor),
        phases=phases(recipe, network) if t.phases else (),
        clip=t.clip,
        accumulate=t.accumulate,
        ema=t.ema,
        precision=t.precision,
        device=choose(t.device),
        processes=t.processes,
        channels_last=t.channels_last,
        compile=t.compile,
        draw_from=t.draw_from,
        validate_every=t.validate_every,
        patience=t.patience,
        monitor=monitor,
        keep_at=_kept_steps(recipe, t.epochs * steps_per_epoch),
        seed=t.seed,
        identity={"training": key},
    )


def _kept_steps(recipe: Recipe, steps: int) -> tuple[int, ...]:
    kept = recipe.train.keep_at
    if kept and max(kept) > steps:
        details = f"the training has {steps} steps, and weights are to be kept at step {max(kept)}"
        how_to_fix = f"leave that step out, or make the training longer; at most {steps}"
        raise MedsegError(Code.KEYWORD_INVALID, "train.keep_at", details, how_to_fix)
    return kept


def optimiser(recipe: Recipe) -> Optimiser:
    """Give the optimiser's settings."""
    return Optimiser(recipe.train.optimiser, recipe.train.weight_decay, recipe.train.momentum)


def phases(recipe: Recipe, network: Network) -> tuple[Phase, ...]:
    """Give the recipe's phases, or one in which everything trains.

    Where layers are to train one by one they are a phase each, in the order in which ``network`` runs them.
    Raises KEYWORD_INVALID where they are more than the epochs.
    """
    given: list[Phase] = []
    for index, part in enumerate(recipe.train.phases):
        phase = Phase(part.epochs, part.lr, part.layers)
        if part.unfreeze == "together":
            given.append(phase)
        else:
            layers = in_order(network, recipe.sampling.window)
            alone = part.unfreeze == "one_at_a_time"
            given += layer_by_layer(phase, layers, f"train.phases.{index}.epochs", alone=alone)
    return tuple(given) or (Phase(recipe.train.epochs, recipe.train.lr),)


def monitor(recipe: Recipe, unit: str) -> str:
    """Name the number of validation that says which weights are best, for grids in `unit` (mm or px).

    By `auto` it is the mean Dice of scans and overlapping masks, the mean IoU of images; of an auto-encoder
    it is the explained variance.
    """
    if recipe.reconstructs:
        return EXPLAINED
    if recipe.train.monitor != "auto":
        return recipe.train.monitor
    return IOU if unit == "px" and not recipe.data.class_list().multilabel else DICE
