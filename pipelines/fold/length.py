"""The length of a training by `train.minutes`: planned once from the speed measured here, and recorded.

The record in the work folder holds for all folds and for later runs, on whichever machine they are: what was
begun goes on as it was planned, and made again it is the same. Other settings are planned anew.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from medseg import files
from medseg.config.fitted import training as rules
from medseg.config.fitted.training import Length
from medseg.config.recipe import Recipe
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.preprocess.store import PreprocessedCase
from pipelines.fold import speed
from pipelines.fold.fold import FoldTraining
from pipelines.fold.network import build_network
from pipelines.fold.settings import WHERE_IT_RUNS
from pipelines.workfolder import Work

FEW_STEPS = rules.FEWEST_STEPS
"""Steps below which a training hardly gets anywhere."""


@dataclass(frozen=True)
class Planned:
    """A length, the ``minutes`` that it fills, and the speed (seconds) that it was planned from.

    ``settings`` is the hash of everything in the recipe that it depends on.
    """

    minutes: float
    length: Length
    seconds_of_step: float
    seconds_of_validation_case: float
    device: str
    settings: str

    @property
    def words(self) -> str:
        """The plan as one line."""
        steps = f"{self.length.epochs} epochs × {self.length.steps_per_epoch} steps"
        every = self.length.validate_every
        validated = "every epoch" if every == 1 else f"every {every} epochs"
        of_step = self.seconds_of_step
        step = f"{of_step:.2f} s" if of_step >= 1 else f"{1000 * of_step:.3g} ms"
        return (
            f"{self.minutes:g} min are {steps} at {step} a step on {self.device}, with validation {validated}"
        )

    @property
    def warning(self) -> str | None:
        """A remark where the time is enough for a few steps only."""
        if (steps := self.length.epochs * self.length.steps_per_epoch) >= FEW_STEPS:
            return None
        return f"only {steps} steps fit into train.minutes: give it more, or a faster device"


def recorded(recipe: Recipe, work: Work) -> Recipe:
    """The recipe with the length that its work folder holds; as it is where there is none.

    The record may be of other settings: what has changed is then said by comparing trainings.
    """
    known = read(work) if recipe.train.minutes is not None else None
    return recipe if known is None else with_length(recipe, known.length)


def read(work: Work) -> Planned | None:
    """Read the record; raises CHECKPOINT_UNREADABLE for one that is damaged."""
    path = work.train_length
    if not path.is_file():
        return None
    try:
        tree = files.read_json(path)
        return Planned(**{**tree, "length": Length(**tree["length"])})
    except (ValueError, TypeError, KeyError) as error:
        how_to_fix = "put a good copy back, or train anew with --from train"
        details = "it is damaged: the length of the training stands there"
        raise MedsegError(Code.CHECKPOINT_UNREADABLE, path, details, how_to_fix) from error


def with_length(recipe: Recipe, length: Length) -> Recipe:
    """The recipe with planned values of the keys that `train.minutes` stands for."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=asdict(length))})


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
    """The hash of what a length depends on; not of where the training runs, which may change on the way."""
    train = {k: v for k, v in recipe.train.used().items() if k not in WHERE_IT_RUNS}
    parts: dict[str, Any] = {
        name: getattr(recipe, name).used()
        for name in ("preprocess", "sampling", "network", "loss", "predict")
    }
    return files.sha256_of_value([parts, train, len(recipe.data.class_list())])
