"""Fuzzy c-means voxel by voxel, as the equations stand; no distinct values, no vectors."""

from __future__ import annotations

from collections.abc import Sequence


def memberships(value: float, centres: Sequence[float], m: float) -> list[float]:
    distances = [abs(value - c) for c in centres]
    if 0 in distances:
        on = [float(d == 0) for d in distances]
        return [o / sum(on) for o in on]
    return [1 / sum((a / b) ** (2 / (m - 1)) for b in distances) for a in distances]


def fit(voxels: Sequence[float], start: Sequence[float], m: float, turns: int) -> list[float]:
    centres = list(start)
    for _ in range(turns):
        u = [memberships(x, centres, m) for x in voxels]
        centres = [
            sum(row[i] ** m * x for row, x in zip(u, voxels, strict=True)) / sum(row[i] ** m for row in u)
            for i in range(len(centres))
        ]
    return centres


def cost(voxels: Sequence[float], centres: Sequence[float], m: float) -> float:
    return sum(
        u**m * (x - c) ** 2 for x in voxels for u, c in zip(memberships(x, centres, m), centres, strict=True)
    )
