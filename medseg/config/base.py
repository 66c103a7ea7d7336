"""The base class and common types of a recipe's sections, and the errors that their validators raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from medseg.errors import Code

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Pair = tuple[Count, Count]
Precision = Literal["fp32", "bf16", "fp16", "auto"]


@dataclass(frozen=True)
class Clash:
    """Values that are valid one by one but not together: the ``keys`` that hold them, the wrong one first."""

    keys: tuple[str, ...]
    details: str
    how_to_fix: str


class ClashError(ValueError):
    """All clashes of a recipe or of one of its sections."""

    def __init__(self, clashes: tuple[Clash, ...]) -> None:
        super().__init__("; ".join(f"{c.keys[0]}: {c.details}; {c.how_to_fix}" for c in clashes))
        self.clashes = clashes


class Section(BaseModel):
    """A section of a recipe.

    The text below a key is its description: the meaning, and after "Typical:" the usual values. The page of
    keys and the JSON Schema are made from it (``medseg.config.reference``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys that were added after the others: results made before them stay up to date while they are off."""

    def used(self) -> dict[str, Any]:
        """Return the values that a stage's hash covers; keys of ``LATER`` only where they are not off."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.LATER and value == field.default:
                del values[name]
            elif isinstance(value, Section):
                values[name] = value.used()
            elif isinstance(value, tuple) and any(isinstance(item, Section) for item in value):
                values[name] = [item.used() for item in value]
        return values


class Above(Section):
    """A threshold, as it may be written in a recipe: ``{above: 30}``."""

    above: float
    """Grey values above this number. Typical: 0 where the surroundings are 0."""


def number_of(value: Any) -> Any:
    """Return the number of ``{above: number}``, anything else as it is (for validators)."""
    return value["above"] if isinstance(value, dict) and value.keys() == {"above"} else value


def refusal(code: Code, details: str, how_to_fix: str) -> PydanticCustomError:
    """Build the error that a validator raises to refuse a value with a code of its own."""
    context = {"code": code, "details": details, "how_to_fix": how_to_fix}
    return PydanticCustomError("refused", "{code} {details}; {how_to_fix}", context)
