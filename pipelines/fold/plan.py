"""The recipe's training section as the loop takes it."""

from __future__ import annotations

from medseg.config.recipe import Recipe
from medseg.device import choose
from medseg.train.optim import Optimiser, Phase
from medseg.train.plan import FitPlan
from pipelines.fold.validation import DICE, IOU


def fit_plan(recipe: Recipe, steps_per_epoch: int, monitor: str, key: str) -> FitPlan:
    """Give the plan of one fold; `key` is the hash of everything that decides its weights."""
    t = recipe.train
    return FitPlan(
        epochs=t.epochs,
        steps_per_epoch=steps_per_epoch,
        lr=t.lr,
        optimiser=optimiser(recipe),
        schedule=t.schedule,
        warmup_steps=t.warmup_steps,
        phases=phases(recipe) if t.phases else (),
        clip=t.clip,
        precision=t.precision,
        device=choose(t.device),
        processes=t.processes,
        channels_last=t.channels_last,
        compile=t.compile,
        draw_from=t.draw_from,
        validate_every=t.validate_every,
        patience=t.patience,
        monitor=monitor,
        seed=t.seed,
        identity={"training": key},
    )


def optimiser(recipe: Recipe) -> Optimiser:
    """Give the optimiser's settings."""
    return Optimiser(recipe.train.optimiser, recipe.train.weight_decay, recipe.train.momentum)


def phases(recipe: Recipe) -> tuple[Phase, ...]:
    """Give the recipe's phases, or one in which everything trains."""
    given = tuple(Phase(p.epochs, p.lr, p.layers) for p in recipe.train.phases)
    return given or (Phase(recipe.train.epochs, recipe.train.lr),)


def monitor(recipe: Recipe, unit: str) -> str:
    """Name the number of validation that says which weights are best, for grids in `unit` (mm or px).

    By `auto` it is the mean Dice of scans and overlapping masks, the mean IoU of images.
    """
    if recipe.train.monitor != "auto":
        return recipe.train.monitor
    return IOU if unit == "px" and not recipe.data.class_list().multilabel else DICE
