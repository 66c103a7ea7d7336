"""Checks of a training that need neither its data nor its work folder, so that they come before both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe
from medseg.errors import MedsegError
from pipelines.fold import earlier, initial_weights, network
from pipelines.fold.fold import FoldTraining, fold_trainings
from pipelines.workfolder import Work


def check_parts(recipe: Recipe, where: Path) -> None:
    """Raise RecipeError with everything that only building and trying the network and the loss can tell."""
    channels, heads, problems = len(recipe.data.channel_names()), 1, []
    try:
        network.check_sizes(recipe, network.network_without_weights(recipe, channels))
        heads = network.check_training_step(recipe, channels)
    except MedsegError as error:
        problems.append(error.finding)
    try:
        network.check_loss(recipe, heads)
    except MedsegError as error:
        problems.append(error.finding)
    if problems:
        raise RecipeError(where, problems)


def check_earlier(
    recipe: Recipe, work: Work, folds: Sequence[int], *, anew: bool, overwrite: bool
) -> tuple[FoldTraining, ...]:
    """Refuse first weights that do not fit, and settings that are not those of the training in the folder.

    Returns the trainings that no other settings may replace: none where training begins ``anew``, or may
    ``overwrite``. Raises SETTINGS_CHANGED, or as :func:`pipelines.fold.initial_weights.check` does.
    """
    initial_weights.check(recipe, work, tuple(folds), anew=anew)
    if anew or overwrite:
        return ()
    guarded = tuple(training for fold in folds for training in fold_trainings(recipe, work, fold))
    earlier.require_same_recipe(guarded)
    return guarded
