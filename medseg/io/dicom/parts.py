"""Parts of a series, and the checks that need several of them: lacking slices, slices of another size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from medseg.errors import Code
from medseg.grid import Grid
from medseg.io.dicom.frames import FrameHeader
from medseg.io.dicom.geometry import SAME_POSITION_MM, Refusal, are_even, frame_number, heights

SAME_COSINE = 1e-3
"""Orientations whose direction cosines differ by less belong together."""

SAME_MM = 1e-4
"""Pixel spacings that differ by less belong together."""


@dataclass(frozen=True)
class Part:
    """Frames of a series that are a volume on ``grid``, or are refused; ``label`` tells them from others."""

    label: str
    frames: tuple[FrameHeader, ...]
    grid: Grid | None = None
    refusal: Refusal | None = None


def with_incomplete_refused(parts: Sequence[Part]) -> Iterator[Part]:
    """Refuse volumes that lack slices which another volume of the series has at the same places."""
    whole = [part for part in parts if part.grid is not None]
    for part in parts:
        fuller = next((other for other in whole if _lacks_slices_of(part, other)), None)
        if fuller is None:
            yield part
            continue
        details = (
            f"{len(part.frames)} of the {len(fuller.frames)} slices that other volumes of the series have"
        )
        how_to_fix = "leave it out, or export the whole series again"
        yield replace(part, grid=None, refusal=Refusal(Code.VOLUME_INCOMPLETE, details, how_to_fix))


def _lacks_slices_of(part: Part, other: Part) -> bool:
    """True if every slice of a volume lies where one of a fuller volume of the same slices does."""
    if part is other or len(part.frames) >= len(other.frames) or part.frames[0].position is None:
        return False
    one, another = part.frames[0], other.frames[0]
    if not (_same_orientation(one, another) and _same_size(one, another)):
        return False
    own, fuller = heights([another, *part.frames])[1:], heights(other.frames)
    return bool((np.abs(own[:, None] - fuller[None]).min(axis=1) <= SAME_POSITION_MM).all())


def _same_orientation(a: FrameHeader, b: FrameHeader) -> bool:
    if a.orientation is None or b.orientation is None:
        return False
    return bool(np.abs(np.subtract(a.orientation, b.orientation)).max() < SAME_COSINE)


def _same_size(a: FrameHeader, b: FrameHeader) -> bool:
    if a.spacing is None or b.spacing is None:
        return False
    return a.shape == b.shape and bool(np.abs(np.subtract(a.spacing, b.spacing)).max() < SAME_MM)


def join_changed(stacks: list[list[FrameHeader]]) -> tuple[list[list[FrameHeader]], list[Part]]:
    """Find the stack whose slices change their matrix or pixel spacing on the way: SLICES_DIFFER.

    Such slices are one even stack together, although no two of them lie at one place. Gives the other
    stacks, and the parts that are refused.
    """
    for one, other in combinations(stacks, 2):
        both = [*one, *other]
        if len(both) < 3 or not _same_orientation(one[0], other[0]) or not are_even(heights(both)):
            continue
        fewer = min(one, other, key=len)
        numbers = ", ".join(frame_number(frame) for frame in fewer[:5])
        details = (
            f"{len(fewer)} of {len(both)} slices have another matrix or pixel spacing: instances {numbers}"
        )
        refusal = Refusal(Code.SLICES_DIFFER, details, "export the series again, or without these slices")
        rest = [stack for stack in stacks if stack is not one and stack is not other]
        left, refused = join_changed(rest)
        return left, [Part("changing slices", tuple(both), refusal=refusal), *refused]
    return stacks, []
