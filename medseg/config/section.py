"""What the sections of a recipe share: their base, common types, and how clashes and refusals are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from medseg.errors import Code

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Pair = tuple[Count, Count]
Precision = Literal["fp32", "bf16", "fp16", "auto"]


@dataclass(frozen=True)
class Clash:
    """Values that are right each by itself but not together: the `keys` they stand at, the first to blame."""

    keys: tuple[str, ...]
    details: str
    how_to_fix: str


class ClashError(ValueError):
    """Everything in a recipe that clashes."""

    def __init__(self, clashes: tuple[Clash, ...]) -> None:
        super().__init__("; ".join(f"{c.keys[0]}: {c.details}; {c.how_to_fix}" for c in clashes))
        self.clashes = clashes


class Section(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys that came after others: what was made before them is still up to date while they are off."""

    def used(self) -> dict[str, Any]:
        """The values for a hash of what was used; a key of `LATER` is left out while it has its default."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.LATER and value == field.default:
                del values[name]
            elif isinstance(value, Section):
                values[name] = value.used()
        return values


def refusal(code: Code, details: str, how_to_fix: str) -> PydanticCustomError:
    """What a validator raises to refuse a value with a code of its own."""
    context = {"code": code, "details": details, "how_to_fix": how_to_fix}
    return PydanticCustomError("refused", "{code} {details}; {how_to_fix}", context)
