"""The section `predict.crf_search`: values of a dense CRF that are tried on validation cases."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from medseg.config.base import Count, NotNegative, Positive, Section
from medseg.model.description import CRFSettings

MOST_COMBINATIONS = 1000
"""Of values of a CRF that are tried."""


class CRFSearch(Section):
    """Values of the dense CRF to try in all combinations; a key that is left out has the value of `crf`."""

    w1: tuple[NotNegative, ...] = ()
    """Weights of near pixels of similar grey values. Typical: `[3, 4, 5, 6]`."""

    sigma_alpha: tuple[Positive, ...] = ()
    """Widths of that kernel in pixels. Typical: `[30, 50, 70, 100]` for images, less for scans."""

    sigma_beta: tuple[Positive, ...] = ()
    """Widths of that kernel in grey values. Typical: `[3, 4, 5, 6]`."""

    w2: tuple[NotNegative, ...] = ()
    """Weights of near pixels. Typical: left out."""

    sigma_gamma: tuple[Positive, ...] = ()
    """Widths of that kernel in pixels. Typical: left out."""

    iterations: tuple[Count, ...] = ()
    """Numbers of mean-field steps. Typical: left out."""

    cases: Annotated[int, Field(ge=0)] = 0
    """Number of validation cases of each fold that are tried, the first ones; 0 takes all. Typical: 0; 100
    images of many."""

    @model_validator(mode="after")
    def _is_a_grid(self) -> Self:
        count = math.prod(len(values) for values in self.grid().values())
        if not self.grid():
            raise ValueError("name the values of at least one key, as sigma_alpha: [30, 100]")
        if count > MOST_COMBINATIONS:
            raise ValueError(f"{count} combinations; give at most {MOST_COMBINATIONS}")
        return self

    def grid(self) -> dict[str, tuple[float, ...]]:
        """Return the values to try by key of `crf`."""
        values = {key: getattr(self, key) for key in CRFSettings.model_fields}
        return {key: tuple(dict.fromkeys(tried)) for key, tried in values.items() if tried}
