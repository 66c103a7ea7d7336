"""A recipe: what is done to which data, as one frozen tree whose sections agree with each other."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from medseg.config.base import ClashError
from medseg.config.clashes import clashes
from medseg.config.sections import Sections


class Recipe(Sections):
    """A recipe. Each stage reads its own sections; only `name` and `data` are required."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if problems := tuple(clashes(self)):
            raise ClashError(problems)
        return self
