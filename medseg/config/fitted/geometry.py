"""Rules for geometry: voxel size, crop, foreground, plane, input slices, window."""

from __future__ import annotations

import math
from typing import NamedTuple

from medseg.config.fitted.choice import Choice, Choices
from medseg.grid import PLANE_AXIS, Plane
from medseg.patches.slabs import slice_axes, slice_shape
from medseg.preprocess.fingerprint import Fingerprint, Triple

ONE_SIZE = 1.25
"""Largest ratio of voxel sizes, between cases or between axes, that counts as one size."""

THICK = 4.0
"""Ratio of the slices' distance to a pixel's side from which on a neighbouring slice shows other things."""

FLAT = 0.5
"""Shortest side of a scan over the longest below which slices in all planes would be strips in some."""

ABOVE_AIR_HU = -500
LARGEST_WINDOW = {"cpu": 128, "gpu": 256}
"""Longest side of a training window (px): of scans; of images twice as long, for they are seen whole."""

SPARSE = 0.02
SPARSE_WINDOW = 64
"""Longest side of a window (px) of scans whose classes fill less than this share: more of it is theirs."""

DEEPEST = {"cpu": 4, "gpu": 5}
"""Poolings at most; one more quarters the pixels of its level and doubles its channels."""

SMALLEST_LEVEL = 4
"""Shortest side (px) of the deepest level."""

COARSEST = 4
SHORTEST_SIDE = 96
"""Images are not made coarser than a quarter, nor shorter than this (px)."""

PASSES = 8
"""Number of times that training should see an image before it may be kept at full size."""


class Slices(NamedTuple):
    """The slices to train on: planes, sides (px) of a typical slice, the fewest in a scan, a scan's voxels.

    Of several planes ``size`` holds the longest sides, ``shortest`` the shortest side of any.
    """

    planes: tuple[Plane, ...]
    size: tuple[int, int]
    shortest: int
    number: int
    voxels: int
    reason: str = ""


def of_scans(fingerprint: Fingerprint) -> tuple[Choices, Slices]:
    """Choose preprocessing and plane for scans."""
    spacing, shape = fingerprint.spacing, fingerprint.shape(cropped=True)
    chosen = {"preprocess.foreground": _foreground(fingerprint)}
    if fingerprint.spacing_ratio > ONE_SIZE:
        sizes = [round(side, 3) for side in spacing]
        reason = f"voxel sizes differ by a factor of {fingerprint.spacing_ratio:.2g}: the median"
        chosen["preprocess.spacing_mm"] = Choice(sizes, reason)
        shape = fingerprint.shape(cropped=True, spacing=spacing)
    chosen["preprocess.crop"] = _crop(fingerprint)
    if not chosen["preprocess.crop"].value and fingerprint.spacing_ratio <= ONE_SIZE:
        shape = fingerprint.shape(cropped=False)
    chosen["preprocess.n4"] = Choice(value=False, reason="bias-field correction, about a minute a scan")
    chosen["preprocess.intensity"] = Choice("zscore", "each scan by its own foreground")
    names, reason = planes(spacing, shape)
    return chosen, _typical(names, shape, reason)


def of_images(fingerprint: Fingerprint, pixels_in_time: float) -> tuple[Choices, Slices]:
    """Choose preprocessing for images; training sees ``pixels_in_time`` pixels at most."""
    height, width, _ = fingerprint.shape(cropped=False)
    factor = coarseness((height, width), fingerprint.n_train, pixels_in_time)
    chosen = {"preprocess.foreground": Choice("all", "images have no empty surroundings to leave out")}
    if factor > 1:
        reason = f"1/{factor} of the size: all {fingerprint.n_train} images are seen more often in the time"
        chosen["preprocess.spacing_px"] = Choice([factor, factor], reason)
    chosen["preprocess.crop"] = Choice(value=False, reason="images are segmented whole")
    chosen["preprocess.intensity"] = Choice("zscore", "each image by itself")
    size = (-(-height // factor), -(-width // factor))
    return chosen, Slices(("axial",), size, min(size), 1, math.prod(size))


def coarseness(size: tuple[int, int], n_train: int, pixels_in_time: float) -> int:
    """Side of a new pixel in old ones: the smallest with which all images are seen :data:`PASSES` times."""
    for factor in range(1, COARSEST):
        enough = pixels_in_time >= PASSES * n_train * math.prod(size) / factor**2
        if enough or min(size) / (factor + 1) < SHORTEST_SIDE:
            return factor
    return COARSEST


def planes(spacing: Triple, shape: tuple[int, int, int]) -> tuple[tuple[Plane, ...], str]:
    """Name the plane with the finest pixels; of voxels that are nearly cubes, all three.

    Of such voxels in a flat scan only the plane of its largest slices is named.
    """
    coarsest = max(spacing)
    across = [name for name in PLANE_AXIS if spacing[PLANE_AXIS[name]] * ONE_SIZE >= coarsest]
    if len(across) < len(PLANE_AXIS):
        name = min(across, key=lambda one: math.prod(spacing[axis] for axis in slice_axes(one)))
        sides = " × ".join(f"{spacing[axis]:.2g}" for axis in slice_axes(name))
        reason = f"the finest pixels, {sides} mm; its slices are {spacing[PLANE_AXIS[name]]:.2g} mm apart"
        return (name,), reason
    if min(shape) < FLAT * max(shape):
        name = min(reversed(PLANE_AXIS), key=lambda one: shape[PLANE_AXIS[one]])
        return (name,), f"a flat scan of nearly cubic voxels: its fewest and largest slices, {min(shape)}"
    return tuple(PLANE_AXIS), "voxels are nearly cubes: one network for all planes, which are averaged"


def _typical(names: tuple[Plane, ...], shape: tuple[int, int, int], reason: str) -> Slices:
    """Slices of a scan of a typical ``shape`` (X, Y, Z) in some planes."""
    sizes = [slice_shape(shape, name) for name in names]
    size = max(height for height, _ in sizes), max(width for _, width in sizes)
    shortest = min(min(one) for one in sizes)
    fewest = min(shape[PLANE_AXIS[name]] for name in names)
    return Slices(names, size, shortest, fewest, math.prod(shape), reason)


def depth(spacing: Triple, slices: Slices) -> Choice:
    """Number of input slices (odd) by the distance of slices against the size of a pixel."""
    first = slices.planes[0]  # of several planes, voxels are nearly cubes
    ratio = spacing[PLANE_AXIS[first]] / min(spacing[axis] for axis in slice_axes(first))
    wanted = 5 if ratio <= ONE_SIZE else 3 if ratio <= THICK else 1
    value = min(wanted, slices.number - 1 + slices.number % 2)
    if value < wanted:
        return Choice(value, f"there are only {slices.number} slices")
    reasons = {
        5: "slices are as close as pixels: two neighbours on both sides",
        3: f"slices are {ratio:.2g} times as far apart as pixels: one neighbour on both sides",
        1: f"slices are {ratio:.2g} times as far apart as pixels: neighbours show something else",
    }
    return Choice(value, reasons[value])


def poolings(shortest: int, device: str) -> int:
    """Number of poolings that leave :data:`SMALLEST_LEVEL` pixels of a slice's ``shortest`` side (px)."""
    fitting = int(math.log2(max(2 * SMALLEST_LEVEL, shortest) / SMALLEST_LEVEL))
    return max(1, min(DEEPEST[device], fitting))


def longest_side(fingerprint: Fingerprint, device: str) -> int:
    """Longest side (px) of a window."""
    if fingerprint.unit == "px":
        return 2 * LARGEST_WINDOW[device]
    return SPARSE_WINDOW if fingerprint.foreground_share < SPARSE else LARGEST_WINDOW[device]


def window(size: tuple[int, int], divisor: int, longest: int) -> tuple[int, int]:
    """Sides (px) nearest to those of a slice, at most ``longest``, that are multiples of ``divisor``."""
    largest = max(divisor, longest - longest % divisor)
    height, width = (
        max(divisor, min(largest, round(side / divisor) * divisor)) if side < largest else largest
        for side in size
    )
    return height, width


def _foreground(fingerprint: Fingerprint) -> Choice:
    if fingerprint.is_ct:
        return Choice({"above": ABOVE_AIR_HU}, "CT: every scan holds air, which is left out")
    fills = [case.fills for case in fingerprint.cases]
    if all(fills):
        return Choice("auto", "the lowest grey value fills a fifth of every scan: surroundings, left out")
    if any(fills):
        reason = f"only {sum(fills)} of {len(fills)} scans have empty surroundings: all are scaled alike"
        return Choice("all", reason)
    return Choice("all", "the scans are full of tissue")


def _crop(fingerprint: Fingerprint) -> Choice:
    if not all(case.fills for case in fingerprint.cases):
        return Choice(value=False, reason="there are no empty surroundings in every scan")
    if outside := sum(case.label_outside > 0 for case in fingerprint.cases):
        return Choice(
            value=False, reason=f"in {outside} scans labels reach beyond the foreground and its margin"
        )
    whole, cropped = (math.prod(fingerprint.shape(cropped=crop)) for crop in (False, True))
    return Choice(
        value=True, reason=f"to the foreground, plus crop_margin voxels: {cropped / whole:.0%} of a scan"
    )
