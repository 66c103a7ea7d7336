"""Values of a data set's elements, as the reader needs them: numbers that are numbers, or None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

from medseg.io.dicom import tags
from medseg.limits import MAX_MM, MIN_MM


class Dataset(Protocol):
    """The one method that pydicom's data sets and plain ones share."""

    def get(self, key: Any, /) -> Any:
        """The element of a tag, or None."""


@cache
def tag_of(keyword: str | tuple[int, int]) -> int:
    """The tag of a keyword, or of a group and number."""
    if isinstance(keyword, tuple):
        return keyword[0] << 16 | keyword[1]
    if keyword in tags.NUMBERS:
        return tags.NUMBERS[keyword]
    from pydicom.tag import Tag

    return int(Tag(keyword))


def value_of(dataset: Dataset, keyword: str, default: Any = None) -> Any:
    """An element's value; by tag, since pydicom takes thrice as long to get one by keyword."""
    element = dataset.get(tag_of(keyword))
    return default if element is None else element.value


def values_of(dataset: Dataset, keyword: str) -> Sequence[Any]:
    """An element's values; a single one, or none, as a tuple too."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def as_number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_integer(value: Any) -> int | None:
    """A whole number, cut off after the point, or None."""
    number = as_number(value)
    return None if number is None else int(number)


def as_floats(value: Any, count: int) -> tuple[float, ...] | None:
    """``count`` numbers that may be lengths in mm or direction cosines, or None."""
    try:
        numbers = tuple(float(x) for x in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(abs(x) <= MAX_MM for x in numbers) else None


def as_pair(value: Any) -> tuple[float, float] | None:
    """Two lengths in mm that a pixel may have, or None."""
    numbers = as_floats(value, 2)
    return None if numbers is None or min(numbers) < MIN_MM else (numbers[0], numbers[1])
