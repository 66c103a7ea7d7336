"""The record of a length that `train.minutes` has planned, in the work folder.

It holds for all folds and for later runs, on whichever machine they are: what was begun goes on as it was
planned, and made again it is the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from medseg import files
from medseg.config.fitted import training as rules
from medseg.config.fitted.training import Length
from medseg.config.recipe import Recipe
from medseg.errors import Code, MedsegError
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
