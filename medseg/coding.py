"""Coded names of classes, as DICOM writes them: a scheme, a value in it and its meaning. Immutable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

SNOMED_CT = "SCT"
"""DICOM's name of SNOMED CT among coding schemes."""

_SCHEME = re.compile(r"[A-Z0-9][A-Za-z0-9_.-]{0,15}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:-]{0,15}")
_CONCEPT = re.compile(r"[1-9][0-9]{5,17}")
_LONGEST_MEANING = 64

# Verhoeff's check digit, the last one of every SNOMED CT identifier: products in the dihedral group of order
# 10, and the permutation that each place of a number adds.
_PERMUTED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


class CodingError(ValueError):
    """A code that DICOM cannot write: the ``details``, and ``how_to_fix`` it."""

    def __init__(self, details: str, how_to_fix: str) -> None:
        super().__init__(f"{details}: {how_to_fix}")
        self.details, self.how_to_fix = details, how_to_fix


def is_concept(value: str) -> bool:
    """True for a string that can be a SNOMED CT identifier: its form, and its check digit."""
    if not _CONCEPT.fullmatch(value):
        return False
    check = 0
    for place, digit in enumerate(reversed(value)):
        check = _dihedral(check, _permuted(int(digit), place % 8))
    return check == 0


def _permuted(digit: int, times: int) -> int:
    for _ in range(times):
        digit = _PERMUTED[digit]
    return digit


def _dihedral(a: int, b: int) -> int:
    """The product of two elements: 0 to 4 are turns of a pentagon, 5 to 9 its reflections."""
    if a < 5:
        return (a + b) % 5 + 5 * (b >= 5)
    return (a - b) % 5 + 5 * (b < 5)


@dataclass(frozen=True)
class CodedName:
    """A code: its ``value`` in a ``scheme``, and its ``meaning`` in words. Raises CodingError."""

    value: str
    meaning: str
    scheme: str = SNOMED_CT

    def __post_init__(self) -> None:
        if not _SCHEME.fullmatch(self.scheme):
            how_to_fix = "use SCT for SNOMED CT, or a scheme of your own whose name begins with 99"
            raise CodingError(f"coding scheme {self.scheme!r}", how_to_fix)
        if self.scheme == SNOMED_CT and not is_concept(self.value):
            how_to_fix = "copy the concept's identifier, 6 to 18 digits whose last one is a check digit"
            raise CodingError(f"{self.value!r} is no SNOMED CT identifier", how_to_fix)
        if self.scheme != SNOMED_CT and not _VALUE.fullmatch(self.value):
            raise CodingError(f"code value {self.value!r}", "use 1 to 16 letters, digits and . _ / : -")
        meaning = self.meaning
        if not meaning.strip() or not meaning.isprintable() or "\\" in meaning:
            raise CodingError(f"code meaning {meaning!r}", "say in printable characters what the code means")
        if len(meaning) > _LONGEST_MEANING:
            raise CodingError(
                f"a code meaning of {len(meaning)} characters", f"use at most {_LONGEST_MEANING}"
            )


ANATOMY = CodedName("91723000", "Anatomical Structure")


@dataclass(frozen=True)
class ClassCodes:
    """The codes of a class: its property type, the category of that, and a modifier such as a side."""

    type: CodedName
    category: CodedName = ANATOMY
    modifier: CodedName | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the codes as they stand in `model.json`."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, tree: Mapping[str, Mapping[str, str]]) -> Self:
        """Undo :meth:`to_json`; raises CodingError."""
        try:
            return cls(**{key: CodedName(**code) for key, code in tree.items()})
        except TypeError:
            keys = sorted({*tree, *(key for code in tree.values() for key in code)})
            raise CodingError(f"codes with the keys {', '.join(keys)}", "give a type at least") from None

    def __str__(self) -> str:
        """The codes in one line: `Hippocampus (SCT 5366008), Anterior (SCT 255549009)`."""
        named = [code for code in (self.type, self.modifier) if code is not None]
        return ", ".join(f"{code.meaning} ({code.scheme} {code.value})" for code in named)
