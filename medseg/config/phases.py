"""Parts of the section `train` of a recipe: phases of layers, sizes of windows, falls of the rate."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medseg.config.base import Count, Positive, Section


class Phase(Section):
    """For `epochs` epochs only parameters whose names match `layers` (globs) train, at `lr`."""

    LATER: ClassVar[frozenset[str]] = frozenset({"unfreeze"})

    layers: tuple[str, ...] = Field(
        description="Globs of the names of the parameters that train; all others are frozen. `medseg "
        "info --full` names the networks. Typical: `[decoder.*, head.*]`, `['*']`."
    )
    lr: Positive = Field(description="Learning rate at the start of the phase. Typical: 1e-4 to 1e-2.")
    epochs: Count = Field(
        description="Epochs of the phase; those of all phases sum to `train.epochs`. Typical: 1 to 20."
    )
    unfreeze: Literal["together", "one_by_one", "one_at_a_time"] = Field(
        default="together",
        description="How the layers of the phase train: `together`; `one_by_one`, the last alone at first, "
        "then with one more before it each time; or `one_at_a_time`, each alone, from the last. A layer is a "
        "convolution with the normalisation after it. They share the epochs equally, the first layer, whose "
        "turn is last, also gets what is left, and the schedule begins anew with each. Typical: `together`.",
    )


class Size(Section):
    """For `epochs` epochs training windows are resized by `scale`, up to a size that the network takes."""

    epochs: Count = Field(
        description="Epochs at this size; those of all sizes sum to `train.epochs`. Typical: 1 to 20."
    )
    scale: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Factor of the window's sides. Typical: 0.25, then 0.5, then 1."
    )


class Plateau(Section):
    """The learning rate is multiplied by `factor` where the score stays where it is.

    The score is `train.monitor`'s of the validation cases; those that say nothing do not count.
    """

    patience: Count = Field(
        default=5,
        description="Validations in a row without a better score, after the last better one or the last "
        "fall, before the rate falls. Typical: 3 to 10.",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Factor of the rate at each fall. Typical: 0.1; 0.5."
    )
