"""Frames in groups of equal values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from medseg.io.dicom.frames import FrameHeader


def partition(frames: Sequence[FrameHeader], keys: Iterable[Any]) -> list[tuple[Any, list[FrameHeader]]]:
    """Frames by their keys, in the order in which these come first."""
    groups: dict[Any, list[FrameHeader]] = {}
    for frame, key in zip(frames, keys, strict=True):
        groups.setdefault(key, []).append(frame)
    return list(groups.items())


def differing(keys: Sequence[tuple[tuple[str, Any], ...]]) -> set[str]:
    """Names whose values differ among keys."""
    return {
        name
        for one, other in pairwise(keys)
        for (name, value), (_, different) in zip(one, other, strict=True)
        if value != different
    }
