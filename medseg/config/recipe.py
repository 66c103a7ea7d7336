"""A recipe: what is done to which data, as one frozen tree whose sections agree with each other."""

from __future__ import annotations

from typing import Any, Self

from pydantic import model_validator

from medseg import losses
from medseg.config.base import ClashError
from medseg.config.clashes import clashes
from medseg.config.sections import Sections


class Recipe(Sections):
    """A recipe. Each stage reads its own sections; only `name` and `data` are required."""

    @model_validator(mode="before")
    @classmethod
    def _reconstruction_needs_no_classes(cls, tree: Any) -> Any:
        """Fill in `data.classes` where an auto-encoder's recipe leaves them out: it has no label to name."""
        data, loss = (tree.get("data"), tree.get("loss")) if isinstance(tree, dict) else (None, None)
        if not (isinstance(data, dict) and isinstance(loss, dict)):
            return tree
        if loss.get("name") != losses.RECONSTRUCTION or data.get("classes") or data.get("masks"):
            return tree
        return {**tree, "data": {**data, "classes": {0: "background", 1: "foreground"}}}

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if problems := tuple(clashes(self)):
            raise ClashError(problems)
        return self
