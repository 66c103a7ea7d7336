"""Volumes of a case as its viewer's page holds them: turned to RAS+, cropped, in few bytes."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations

from medseg.classes import VOID
from medseg.grid import Array
from medseg.metrics.surface import bounding_box
from medseg.report.image_overlay import colours_of
from medseg.volume import Volume

GREY_BYTES = 3_000_000
"""Most bytes of all grey values of a page, compressed; finer steps are given up for that."""

MOST_VOXELS = 16_777_216
"""Most voxels of a label map of a page, 256³; of larger ones every n-th voxel along an axis is shown."""

_LEVELS = (256, 128, 64)
_MARGIN = 3  # voxels around the head
_AIR = 0.08
_SIDEWAYS = 0.17  # share of a direction along an axis, about 10°, above which its letter is written too
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Turned:
    """A case turned to RAS+ and cropped to ``window``; an image in px lies as it is, as (rows, columns, 1).

    ``grey`` (C, X, Y, Z), label maps (X, Y, Z) uint8, ``confidence`` (X, Y, Z) in 0 to 1. ``steps`` says that
    every n-th voxel of the window is shown along each axis. ``affine`` maps the turned, uncropped voxels.
    """

    grey: Array
    labels: dict[str, Array]
    confidence: Array | None
    affine: Array
    window: tuple[slice, ...]
    steps: tuple[int, ...]
    unit: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels shown along each axis."""
        return tuple(
            len(range(*w.indices(w.stop))[::n]) for w, n in zip(self.window, self.steps, strict=True)
        )

    @property
    def spacing(self) -> list[float]:
        """Edges of the voxels shown, in mm or px."""
        return [
            float(e) * n for e, n in zip(np.linalg.norm(self.affine[:3, :3], axis=0), self.steps, strict=True)
        ]

    def shown(self, array: Array) -> Array:
        """The voxels of an array (X, Y, Z) that are shown."""
        kept: Array = array[self.window][tuple(slice(None, None, n) for n in self.steps)]
        return kept


def turned(image: Volume, labels: dict[str, Array], confidence: Array | None) -> Turned:
    """Turn and crop a case; ``labels`` are its label maps by name, (X, Y, Z) on the image's grid."""
    is_scan = image.grid.unit != "px"
    turn = orientations.io_orientation(image.grid.affine) if is_scan else np.array([(0, 1), (1, 1), (2, 1)])

    def turned_array(array: Array) -> Array:
        out: Array = orientations.apply_orientation(array, turn)
        return out

    grey = np.stack([turned_array(channel) for channel in image.array])
    maps = {name: turned_array(array) for name, array in labels.items()}
    window = tuple(slice(0, n) for n in grey.shape[1:])
    if is_scan:
        visible = head(grey[0])
        for array in maps.values():
            visible |= (array > 0) & (array != VOID)
        window = bounding_box(visible, _MARGIN) if visible.any() else window
    affine = image.grid.affine @ orientations.inv_ornt_aff(turn, image.grid.shape)
    sizes = [w.stop - w.start for w in window]
    return Turned(
        grey=grey,
        labels=maps,
        confidence=None if confidence is None else turned_array(confidence),
        affine=affine,
        window=window,
        steps=_steps(sizes, np.linalg.norm(affine[:3, :3], axis=0), MOST_VOXELS),
        unit=image.grid.unit,
    )


def head(grey: Array) -> Array:
    """Mark (bool) voxels that are clearly brighter than air."""
    low, high = float(grey.min()), float(np.percentile(grey, 99.5))
    out: Array = grey > low + _AIR * (high - low)
    return out


def _steps(sizes: Sequence[int], edges: Array, most: int) -> tuple[int, ...]:
    """Steps that leave at most so many voxels: the axis whose voxels are then finest is thinned first."""
    steps = [1, 1, 1]
    while math.prod(-(-n // s) for n, s in zip(sizes, steps, strict=True)) > most:
        finest = min((a for a in range(3) if sizes[a] > steps[a]), key=lambda a: edges[a] * steps[a])
        steps[finest] += 1
    return tuple(steps)


def sides(affine: Array) -> list[list[str]]:
    """Letters of the patient's sides at the low and the high end of each axis of a grid, the nearest first.

    An axis that runs more than about 10° askew has two letters or three.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return [[_letters(-directions[:, axis]), _letters(directions[:, axis])] for axis in range(3)]


def _letters(direction: Array) -> str:
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(_ENDS[a][int(direction[a] > 0)] for a in order if abs(direction[a]) > _SIDEWAYS)


def start(case: Turned) -> list[int]:
    """The voxel shown first: on each axis the slice with most foreground, or with most of the head."""
    weight = np.zeros(case.shape, np.uint8)
    for array in case.labels.values():
        shown = case.shown(array)
        weight += (shown > 0) & (shown != VOID)
    if not weight.any():
        weight = head(case.shown(case.grey[0])).astype(np.uint8)
    axes = [tuple(other for other in range(3) if other != axis) for axis in range(3)]
    return [int(weight.sum(axis=others, dtype=np.int64).argmax()) for others in axes]


def channels(case: Turned, names: Sequence[str]) -> list[dict[str, Any]]:
    """Grey values of each channel, or the colours of an image, with the range that their steps stand for.

    A step is the difference to the voxel before along X. Where all together are more than
    :data:`GREY_BYTES`, there are fewer steps, then coarser voxels.
    """
    if case.unit == "px":
        return [_colours(case)]
    scaled = []
    for name, grey in zip(names, case.grey, strict=True):
        shown = case.shown(grey).astype(np.float32)
        inside = shown[head(shown)]
        sample = inside if inside.size else shown
        low, high = float(shown.min()), float(np.percentile(sample, 99.9))
        first, last = (float(v) for v in np.percentile(sample, (1, 99)))
        high = max(high, low + 1e-6)
        ends = [(v - low) / (high - low) for v in (first, max(last, first + 1e-6))]
        scaled.append((name, low, high, ends, np.clip((shown - low) / (high - low), 0, 1)))
    packed, levels, blocks = _within_budget([s[-1] for s in scaled], case.spacing)
    return [
        {
            "name": name,
            "low": low,
            "high": high,
            "window": ends,
            "levels": levels,
            "blocks": blocks,
            "planes": [data],
        }
        for (name, low, high, ends, _), data in zip(scaled, packed, strict=True)
    ]


def _colours(case: Turned) -> dict[str, Any]:
    """An image in its own colours, as the report shows it: one plane where all three are equal."""
    rgb = colours_of(case.grey[..., 0])
    planes = [case.shown(rgb[..., k, None]) for k in range(3 if len(case.grey) == 3 else 1)]
    packed, levels, blocks = _within_budget(planes, case.spacing)
    whole = {"low": 0.0, "high": 255.0, "window": [0.0, 1.0]}
    return {"name": "image", **whole, "levels": levels, "blocks": blocks, "planes": packed}


def _within_budget(shares: Sequence[Array], spacing: Sequence[float]) -> tuple[list[str], int, list[int]]:
    """Pack shares in 0 to 1 as grey steps: data, number of steps, and voxels (X, Y, Z) that share one."""
    blocks = [1, 1, 1]
    while True:
        coarse = [_means(share, blocks) for share in shares]
        for levels in _LEVELS:
            stepped = [np.rint(c * (levels - 1)).astype(np.uint8) for c in coarse]
            packed = [_deflated(np.diff(s, axis=0, prepend=np.zeros_like(s[:1]))) for s in stepped]
            if sum(map(len, packed)) <= GREY_BYTES:
                return [_text(p) for p in packed], levels, blocks
        axes = [a for a in range(3) if shares[0].shape[a] > blocks[a]]
        finest = min(spacing[a] * blocks[a] for a in axes)
        for axis in axes:  # all axes that are about as fine, so that voxels keep their proportion
            blocks[axis] *= 2 if spacing[axis] * blocks[axis] < 1.5 * finest else 1


def _means(share: Array, blocks: Sequence[int]) -> Array:
    """Means over blocks of voxels; the last block of an axis repeats its edge."""
    if max(blocks) == 1:
        return share
    edges = [(0, -n % b) for n, b in zip(share.shape, blocks, strict=True)]
    padded = np.pad(share, edges, mode="edge")
    parts = [part for n, b in zip(padded.shape, blocks, strict=True) for part in (n // b, b)]
    means: Array = padded.reshape(parts).mean(axis=(1, 3, 5))
    return means


def packed(array: Array) -> str:
    """A label map, or a share in 0 to 1 in steps of 1/255, as text."""
    values = array if array.dtype == np.uint8 else np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return _text(_deflated(values))


def _deflated(array: Array) -> bytes:
    """The bytes of an array uint8, X fastest, as gzip without a time."""
    return gzip.compress(array.tobytes("F"), 6, mtime=0)


def _text(data: bytes) -> str:
    return "data:application/gzip;base64," + base64.b64encode(data).decode()


def position_affine(case: Turned) -> list[list[float]]:
    """The affine (3, 4) from the voxels shown to mm, to four digits."""
    shift = np.array([w.start for w in case.window], dtype=np.float64)
    scale = np.diag(np.array(case.steps, dtype=np.float64))
    linear = case.affine[:3, :3]
    joined = np.column_stack([linear @ scale, linear @ shift + case.affine[:3, 3]])
    return [[round(float(v), 4) for v in row] for row in joined]
