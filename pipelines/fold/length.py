"""The length of a training by `train.minutes`: planned once from the speed measured here, and recorded.

Other settings than the recorded ones are planned anew.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from medseg import files
from medseg.config.fitted import training as rules
from medseg.config.recipe import Recipe
from medseg.grid import Array
from medseg.preprocess.store import PreprocessedCase
from pipelines.fold import speed
from pipelines.fold.fold import FoldTraining
from pipelines.fold.network import build_network
from pipelines.fold.planned_length import Planned, read
from pipelines.fold.settings import WHERE_IT_RUNS
from pipelines.workfolder import Work


def known(recipe: Recipe, work: Work) -> Planned | None:
    """The recorded length if it is of these very settings; raises as :func:`read` does."""
    planned = read(work)
    return planned if planned is not None and planned.settings == _settings(recipe) else None


def plan(training: FoldTraining, of_fold: int) -> tuple[Planned, bool]:
    """The length for a training and for all others of its recipe, and whether it was planned anew.

    ``of_fold`` is the number of trainings that share the time of a fold. Raises as :func:`read` does.
    """
    recipe = training.recipe
    if (planned := known(recipe, training.work)) is not None:
        return planned, False
    network = build_network(recipe, len(training.cases.train[0].volume.array))
    step = speed.seconds_of_step(training.arguments(network))
    pixel = speed.seconds_of_pixel(training, network)
    seconds = [pixel * pixels_of(training, case) for case in training.cases.validation]
    validated = (len(seconds), sum(seconds) / len(seconds)) if seconds else (0, 0.0)
    epoch = training.batches.steps_per_epoch if recipe.sampling.order == "shuffled" else None
    planned = fill(recipe, training.plan.device, step, validated, epoch, of_fold)
    files.write_json(training.work.train_length, asdict(planned))
    return planned, True


def fill(
    recipe: Recipe,
    device: str,
    step: float,
    validated: tuple[int, float],
    epoch_of: int | None,
    of_fold: int,
) -> Planned:
    """Fill the recipe's time with steps of ``step`` seconds, by one process, and with validations.

    ``validated`` are the number of validation cases and the seconds of each, ``epoch_of`` the steps of an
    epoch where it takes every case once, ``of_fold`` the trainings that share the time.
    """
    train, minutes = recipe.train, recipe.train.minutes or 0.0
    filled = rules.length(60 * minutes / of_fold, step / train.processes, validated, epoch_of)
    return Planned(minutes, filled, step, validated[1], device, _settings(recipe))


def pixels_of(training: FoldTraining, case: PreprocessedCase) -> float:
    """Pixels that a prediction of a case has to compute, those seen several times as often as that."""
    planes = len(training.recipe.sampling.planes)
    array: Array = case.volume.array
    return math.prod(array.shape[1:]) * planes * speed.overlap(training.recipe, training.shape)


def _settings(recipe: Recipe) -> str:
    """The hash of what a length is planned for: what is trained. Where that is, and how scans are predicted,
    may change on the way.
    """
    train = {k: v for k, v in recipe.train.used().items() if k not in WHERE_IT_RUNS}
    parts: dict[str, Any] = {
        name: getattr(recipe, name).used() for name in ("preprocess", "sampling", "network", "loss")
    }
    return files.sha256_of_value([parts, train, len(recipe.data.class_list())])
