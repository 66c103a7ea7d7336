"""What is known of the scans or images that a model was trained on: how many, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

Triple = tuple[float, float, float]
Pair = tuple[int, int]


class Domain(BaseModel):
    """What is known of a training's scans: how many, and their voxel edges along the axes of their arrays.

    Of images, instead of edges, the least and the largest number of rows and of columns.
    """

    model_config = ConfigDict(extra="allow")

    cases: int | None = None
    spacing_min_mm: Triple | None = None
    spacing_max_mm: Triple | None = None
    size_min_px: Pair | None = None
    size_max_px: Pair | None = None


def merged(domains: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The domain of a model of several members: a scan is inside if it is inside that of any member.

    Voxel edges (or sizes of images) reach from the least to the largest of all members; `cases` is the most
    that one was trained on, as members share cases. A bound that a member does not know is left out.
    """
    held = [Domain.model_validate(domain) for domain in domains]
    found: dict[str, Any] = {"cases": max((d.cases for d in held if d.cases is not None), default=None)}
    for kind, unit in (("spacing", "mm"), ("size", "px")):
        least = [getattr(domain, f"{kind}_min_{unit}") for domain in held]
        most = [getattr(domain, f"{kind}_max_{unit}") for domain in held]
        if None not in least and None not in most:
            found[f"{kind}_min_{unit}"] = [min(edges) for edges in zip(*least, strict=True)]
            found[f"{kind}_max_{unit}"] = [max(edges) for edges in zip(*most, strict=True)]
    return {key: value for key, value in found.items() if value is not None}


def lines(domain: Mapping[str, Any]) -> list[str]:
    """How many scans or images there were, and from which to which voxel size or number of pixels."""
    known = Domain.model_validate(domain)
    told = [] if known.cases is None else [f"{known.cases} training cases"]
    ranges = (
        ("voxels", known.spacing_min_mm, known.spacing_max_mm, "mm"),
        ("rows and columns", known.size_min_px, known.size_max_px, "px"),
    )
    for what, low, high, unit in ranges:
        if low is not None and high is not None:
            least, most = words(low), words(high)
            told.append(f"{what}{f' of {least}' if low == high else f' from {least} to {most}'} {unit}")
    return told or ["not recorded"]


def words(value: Any) -> str:
    """A value as a reader writes it: `epochs 20, best validation Dice 0.9123`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(held)}" for key, held in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " × ".join(map(words, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)
