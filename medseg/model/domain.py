"""The domain of a model: how large, and of which grey values, the scans or images of its training were."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medseg.errors import Code, Finding
from medseg.grid import Array
from medseg.model import shapes
from medseg.model.shapes import ShapeRange
from medseg.preprocess.geometry import Record, ras_spacing
from medseg.preprocess.intensity import Foreground, NormalizedVolume, foreground

Triple = tuple[float, float, float]
Pair = tuple[int, int]

SPACING_FACTOR = 1.5
"""A voxel edge may be this much shorter or longer than in training."""

DECILE_SHARE = 0.2
"""A decile of the grey values may lie this part of the training's spread (10 % to 90 %) outside its range."""

FOREGROUND_SHARE = 0.25
"""The foreground's share of its bounding box may be this much smaller or larger than in training."""

FOREGROUND_FACTOR = 2.0
"""The foreground's volume may be this much smaller or larger than in training, where it has a background."""

BRAIN_ML = (500.0, 2000.0)
"""Volumes that a skull-stripped human brain may have; whole heads and bodies have more."""

BRAIN_LENGTH_MM = 200.0
"""Largest extent of a skull-stripped human brain along an axis."""

WHOLE_HEAD = "a whole head or more"
"""Words for a scan that is not skull-stripped."""

HOW_TO_STRIP = "cut the brain out with --strip (T1) or --mask"
"""Advice for a whole head that meets a model of skull-stripped brains."""

_SAMPLED = 64
"""Voxels along each axis that grey values are measured on."""

_ALL = 0.95
"""A foreground that fills this part of its box has no background to be told from."""

_BOUNDS = {
    "spacing": ("spacing_min_mm", "spacing_max_mm"),
    "size": ("size_min_px", "size_max_px"),
    "deciles": ("deciles_min", "deciles_max"),
    "foreground_share": ("foreground_share_min", "foreground_share_max"),
    "foreground_ml": ("foreground_min_ml", "foreground_max_ml"),
    "zero_share": ("zero_share_min", "zero_share_max"),
}


class Domain(BaseModel):
    """Number of training cases, and the least and largest figures of their scans.

    Of scans: voxel edges along R, A, S; by channel the nine deciles of the foreground's grey values as
    networks see them, the share that the foreground fills of its bounding box, and its volume; of the first
    channel, the share of voxels at the lowest value if it fills the background (see
    :func:`intensity.threshold`). `skull_stripped` is true if all were brains alone, false if all were more
    than that, none where they differ or cannot be told. `structures` are the sizes and shapes of the labelled
    structures, see :mod:`medseg.model.shapes`. Of images: rows and columns.
    """

    model_config = ConfigDict(extra="allow")

    cases: int | None = None
    spacing_min_mm: Triple | None = None
    spacing_max_mm: Triple | None = None
    deciles_min: tuple[tuple[float, ...], ...] | None = None
    deciles_max: tuple[tuple[float, ...], ...] | None = None
    foreground_share_min: tuple[float, ...] | None = None
    foreground_share_max: tuple[float, ...] | None = None
    foreground_min_ml: tuple[float, ...] | None = None
    foreground_max_ml: tuple[float, ...] | None = None
    zero_share_min: float | None = None
    zero_share_max: float | None = None
    skull_stripped: bool | None = None
    structures: dict[str, ShapeRange] = Field(default={})
    size_min_px: Pair | None = None
    size_max_px: Pair | None = None


def measure(volume: NormalizedVolume, record: Record, rule: Foreground) -> dict[str, Array]:
    """Measure a prepared volume (C, X, Y, Z): its figures by name, see :class:`Domain`.

    Grey values are looked at on every n-th voxel, at most 64 along an axis.
    """
    if record.original.unit == "px":
        return {"size": np.array(record.original.shape[:2])}
    steps = [max(1, -(-n // _SAMPLED)) for n in volume.grid.shape]
    sample = volume.array[(slice(None), *(slice(None, None, step) for step in steps))]
    voxel_ml = volume.grid.voxel_size * math.prod(steps) / 1000
    deciles, shares, volumes_ml = [], [], []
    for index, channel in enumerate(sample):
        mask = foreground(channel, rule)
        values = volume.normalise(sample[:, mask])[index] if mask.any() else np.zeros(1)
        deciles.append(np.quantile(values, np.arange(1, 10) / 10))
        shares.append(mask.sum() / max(1, _box_size(mask)))
        volumes_ml.append(mask.sum() * voxel_ml)
    occupied = foreground(sample[0], "auto")
    occupied_ml = occupied.sum() * voxel_ml
    original_ml = record.original.voxel_size * math.prod(record.original.shape) / 1000
    return {
        "spacing": np.array(ras_spacing(record.original)),
        "zero_share": np.array(max(0.0, 1 - occupied_ml / original_ml) if not occupied.all() else 0.0),
        "skull_stripped": np.array(_is_brain(occupied, occupied_ml, np.multiply(volume.grid.spacing, steps))),
        "deciles": np.array(deciles),
        "foreground_share": np.array(shares),
        "foreground_ml": np.array(volumes_ml),
    }


def _is_brain(occupied: Array, volume_ml: float, spacing: Array) -> float:
    """1 for a brain alone, 0 for more than a brain, NaN for less of one, or no background to be told from."""
    lengths = [
        float(np.ptp(np.flatnonzero(occupied.any(axis=tuple({0, 1, 2} - {axis})))) + 1) * edge
        for axis, edge in enumerate(spacing.tolist())
        if volume_ml > 0
    ]
    if volume_ml > BRAIN_ML[1] or max(lengths, default=0.0) > BRAIN_LENGTH_MM:
        return 0.0
    return 1.0 if volume_ml >= BRAIN_ML[0] and not occupied.all() else math.nan


def of_cases(measured: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    """The domain of training cases, from what :func:`measure` gives of each of them."""
    domain: dict[str, Any] = {"cases": len(measured)}
    for name, (low, high) in _BOUNDS.items():
        if all(name in figures for figures in measured):
            values = np.stack([figures[name] for figures in measured])
            domain[low], domain[high] = _rounded(values.min(axis=0)), _rounded(values.max(axis=0))
    kinds = {float(figures["skull_stripped"]) for figures in measured if "skull_stripped" in figures}
    if kinds in ({0.0}, {1.0}):
        domain["skull_stripped"] = kinds == {1.0}
    return domain


def merged(domains: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The domain of a model of several members: from the least to the largest figures of all of them.

    `cases` is the most that one member was trained on, as members share cases. A bound that a member does not
    have is left out.
    """
    members = [Domain.model_validate(domain) for domain in domains]
    merged: dict[str, Any] = {"cases": max((d.cases for d in members if d.cases is not None), default=None)}
    for low, high in _BOUNDS.values():
        least, most = ([getattr(domain, key) for domain in members] for key in (low, high))
        if None not in least and None not in most:
            merged[low] = np.min(least, axis=0).tolist()
            merged[high] = np.max(most, axis=0).tolist()
    kinds = {domain.skull_stripped for domain in members}
    merged["skull_stripped"] = kinds.pop() if len(kinds) == 1 else None
    known = shapes.merged([domain.structures for domain in members])
    merged["structures"] = {name: one.model_dump(mode="json") for name, one in known.items()} or None
    return {key: value for key, value in merged.items() if value is not None}


def check(measured: Mapping[str, Array], domain: Mapping[str, Any], where: object) -> list[Finding]:
    """Compare a scan's figures with those of the training: OUT_OF_DOMAIN if one is far outside, or nothing.

    Images have no such range: nobody knows how large a pixel is.
    """
    known = Domain.model_validate(domain)
    problems = [
        *_head_problems(measured, known),
        *_spacing_problems(measured, known),
        *_grey_problems(measured, known),
    ]
    return [Finding(Code.OUT_OF_DOMAIN, str(where), "; ".join(problems), "review the result")] * bool(
        problems
    )


def _head_problems(measured: Mapping[str, Array], known: Domain) -> Iterator[str]:
    kind = float(measured.get("skull_stripped", math.nan))
    if known.skull_stripped is True and kind == 0:
        yield f"skull-stripping: {WHOLE_HEAD}; trained on skull-stripped brains"
    if known.skull_stripped is False and kind == 1:
        yield "skull-stripping: a skull-stripped brain; trained on whole heads"


def _spacing_problems(measured: Mapping[str, Array], known: Domain) -> Iterator[str]:
    low, high = known.spacing_min_mm, known.spacing_max_mm
    if "spacing" not in measured or low is None or high is None:
        return
    spacing = measured["spacing"]
    if (spacing < np.divide(low, SPACING_FACTOR)).any() or (
        spacing > np.multiply(high, SPACING_FACTOR)
    ).any():
        along = " × ".join(f"{edge:.3g}" for edge in spacing)
        trained = words(low) if low == high else f"{words(low)} to {words(high)}"
        yield f"spacing: voxels of {along} mm along R, A, S; trained on {trained} mm"


def _grey_problems(measured: Mapping[str, Array], known: Domain) -> Iterator[str]:
    """Grey values and foreground, channel by channel; a domain of other channels says nothing."""
    if known.deciles_min is not None and known.deciles_max is not None and "deciles" in measured:
        low, high = np.array(known.deciles_min), np.array(known.deciles_max)
        if low.shape == measured["deciles"].shape:
            tolerance = DECILE_SHARE * (high[:, -1:] - low[:, :1])
            outside = np.maximum(low - measured["deciles"], measured["deciles"] - high) - tolerance
            channel, decile = np.unravel_index(outside.argmax(), outside.shape)
            if outside.max() > 0:
                yield (
                    f"grey values: the {10 * (decile + 1)} % quantile of the foreground is "
                    f"{measured['deciles'][channel, decile]:.2f}; trained on {low[channel, decile]:.2f} to "
                    f"{high[channel, decile]:.2f}"
                )
    shares = _bounds(measured, "foreground_share", known)
    volumes = _bounds(measured, "foreground_ml", known)
    for share, least, most in shares:
        if not least - FOREGROUND_SHARE <= share <= most + FOREGROUND_SHARE:
            trained = f"trained on {least:.0%} to {most:.0%}"
            yield f"foreground share: {share:.0%} of its box is foreground; {trained}"
            return
    for (share, _, largest), (ml, least, most) in zip(shares, volumes, strict=False):
        told_apart = share < _ALL and largest < _ALL
        if told_apart and not least / FOREGROUND_FACTOR <= ml <= most * FOREGROUND_FACTOR:
            yield f"foreground volume: {ml:.0f} ml; trained on {least:.0f} to {most:.0f} ml"
            return


def distances(measured: Mapping[str, Array], domain: Mapping[str, Any]) -> dict[str, float]:
    """Distances of a scan's figures from those of the training, 0 inside their range, at most 2.

    ``grey values`` is in spreads of the training's (10 % to 90 %), ``spacing`` a logarithm, ``foreground`` a
    share of the foreground's box.
    """
    known, far = Domain.model_validate(domain), {}
    low, high = np.array(known.deciles_min or ()), np.array(known.deciles_max or ())
    if "deciles" in measured and low.shape == high.shape == measured["deciles"].shape:
        spread = np.maximum(high[:, -1:] - low[:, :1], 1e-6)
        far["grey values"] = (
            np.maximum(low - measured["deciles"], measured["deciles"] - high) / spread
        ).max()
    if "spacing" in measured and known.spacing_min_mm and known.spacing_max_mm:
        edges = np.log(measured["spacing"])
        far["spacing"] = np.maximum(
            np.log(known.spacing_min_mm) - edges, edges - np.log(known.spacing_max_mm)
        ).max()
    if shares := _bounds(measured, "foreground_share", known):
        far["foreground"] = max(max(least - share, share - most) for share, least, most in shares)
    return {name: float(min(2.0, max(0.0, value))) for name, value in far.items()}


def _bounds(measured: Mapping[str, Array], name: str, known: Domain) -> list[tuple[float, float, float]]:
    """(figure, least, largest) of each channel; empty where the domain lacks them."""
    low, high = (getattr(known, key) for key in _BOUNDS[name])
    if name not in measured or low is None or high is None or len(low) != len(measured[name]):
        return []
    return [*zip(measured[name].tolist(), low, high, strict=True)]


def lines(domain: Mapping[str, Any]) -> list[str]:
    """Describe a domain in words, a line for each figure, for `card.md`."""
    known = Domain.model_validate(domain)
    text = [] if known.cases is None else [f"{known.cases} training cases"]
    ranges = (
        ("voxels", known.spacing_min_mm, known.spacing_max_mm, "mm"),
        ("rows and columns", known.size_min_px, known.size_max_px, "px"),
        ("foreground", known.foreground_min_ml, known.foreground_max_ml, "ml"),
    )
    for noun, low, high, unit in ranges:
        if low is not None and high is not None:
            least, most = words(low), words(high)
            text.append(f"{noun}{f' of {least}' if low == high else f' from {least} to {most}'} {unit}")
    if known.skull_stripped is not None:
        text.append("skull-stripped brains" if known.skull_stripped else "whole heads, not skull-stripped")
    if known.zero_share_min is not None and known.zero_share_max is not None:
        least_share, most_share = known.zero_share_min, known.zero_share_max
        text.append(f"background filled with one value: {least_share:.0%} to {most_share:.0%} of a scan")
    for name, one in known.structures.items():
        text.append(f"{name} of {one.volume_ml[0]:.3g} to {one.volume_ml[1]:.3g} ml")
    return text or ["not recorded"]


def words(value: Any) -> str:
    """A value as a reader writes it: `epochs 20, best validation Dice 0.9123`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " × ".join(map(words, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)


def _box_size(mask: Array) -> int:
    """Voxels of the smallest box that holds a mask (X, Y, Z); 0 for an empty one."""
    hits = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return math.prod(int(hit[-1] - hit[0]) + 1 if len(hit) else 0 for hit in hits)


def _rounded(values: Iterable[Any]) -> Any:
    return np.round(np.asarray(values), 6).tolist()
