"""Frames in groups of equal values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from medseg.io.dicom.frames import FrameHeader

SAME_NUMBER = 0.003
"""Echo times and b-values of one contrast differ by this share at most, from slice to slice."""


def partition(frames: Sequence[FrameHeader], keys: Iterable[Any]) -> list[tuple[Any, list[FrameHeader]]]:
    """Frames by their keys, in the order in which these come first."""
    groups: dict[Any, list[FrameHeader]] = {}
    for frame, key in zip(frames, keys, strict=True):
        groups.setdefault(key, []).append(frame)
    return list(groups.items())


def contrasts(frames: Sequence[FrameHeader]) -> list[tuple[tuple[str, Any], ...]]:
    """The contrast of each frame; numbers that differ by less than :data:`SAME_NUMBER` are made one."""
    names = [name for name, _ in frames[0].contrast]
    columns = [_without_noise([frame.contrast[n][1] for frame in frames]) for n in range(len(names))]
    return [tuple(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _without_noise(values: Sequence[Any]) -> Sequence[Any]:
    numbers = sorted({value for value in values if isinstance(value, float)})
    if len(numbers) < 2:
        return values
    steps = np.diff(numbers) > SAME_NUMBER * np.abs(numbers[1:])
    first = np.maximum.accumulate(np.where(np.concatenate([[True], steps]), np.arange(len(numbers)), 0))
    of = {number: numbers[at] for number, at in zip(numbers, first, strict=True)}
    return [of.get(value, value) if isinstance(value, float) else value for value in values]


def differing(keys: Sequence[tuple[tuple[str, Any], ...]]) -> set[str]:
    """Names whose values differ among keys."""
    return {
        name
        for one, other in pairwise(keys)
        for (name, value), (_, different) in zip(one, other, strict=True)
        if value != different
    }
