"""Shares in steps of 1/255, voxel by voxel and in fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def of_classes(shares: Sequence[Fraction], label: int) -> list[int]:
    """Steps that sum to 255, by largest remainder; the label, of the highest share, has most of all."""
    steps = [math.floor(share * 255) for share in shares]
    for _ in range(255 - sum(steps)):
        remainders = [share * 255 - step for share, step in zip(shares, steps, strict=True)]
        steps[remainders.index(max(remainders))] += 1
    first = steps.index(max(steps))
    if first != label:
        steps[first] -= 1
        steps[label] += 1
    return steps
