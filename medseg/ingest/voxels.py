"""Faults of voxel values, and label values as class indices, slab by slab: without a second volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medseg.classes import ClassList
from medseg.errors import Code, Finding
from medseg.grid import Array
from medseg.io.memory import MemoryImage
from medseg.io.scans import Readable
from medseg.run_lengths import count_values
from medseg.volume import Intensity, Volume, Window, survives_float32, white_level

LABEL_TOLERANCE = 1e-3
"""Largest distance of a label value from an integer."""

_SLAB_VOXELS = 2**20
_LABEL_LIMIT = 2**31  # larger values are beyond every class list, and beyond a safe cast
_LARGEST = {"float64": float(np.finfo(np.float32).max), "int64": 2.0**53, "uint64": 2.0**53}
"""Largest absolute grey value by dtype: of what float32 holds, and of what float64 tells apart."""


def _slabs(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (first index, view) of slabs along the last axis of (X, Y, Z), each of about a million voxels."""
    thickness = max(1, _SLAB_VOXELS // max(1, array.shape[0] * array.shape[1]))
    for start in range(0, array.shape[2], thickness):
        yield start, array[:, :, start : start + thickness]


def grey_value_faults(volume: Volume, path: Readable) -> list[Finding]:
    """Find NAN_OR_INF, VALUES_TOO_LARGE or CONSTANT in each channel.

    An image is CONSTANT once, and only if no channel varies.
    """
    findings = []
    constants = []
    for i, channel in enumerate(volume.array):
        which = f"channel {i}: " if len(volume.array) > 1 else ""
        if fault := _not_finite(channel, path, which):
            findings.append(fault)
            continue
        low = min(slab.min() for _, slab in _slabs(channel))
        high = max(slab.max() for _, slab in _slabs(channel))
        limit = _LARGEST.get(channel.dtype.name)
        if limit is not None and max(-float(low), float(high)) > limit:
            details = f"{which}values from {low:.6g} to {high:.6g}, the largest usable one is {limit:.3g}"
            how_to_fix = "replace fill values by the background's value, or divide the scan by a constant"
            findings.append(Finding(Code.VALUES_TOO_LARGE, str(path), details, how_to_fix))
        elif low == high:
            constants.append(f"{low:g}")
            if volume.grid.unit == "mm":
                details = f"{which}every voxel is {low:g}"
                findings.append(Finding(Code.CONSTANT, str(path), details, "export the scan again"))
    if volume.grid.unit == "px" and len(constants) == len(volume.array):
        colour = constants[0] if len(constants) == 1 else f"({', '.join(constants)})"
        how_to_fix = "replace the image, or remove it"
        return [Finding(Code.CONSTANT, str(path), f"every pixel is {colour}", how_to_fix)]
    return findings


def range_faults(volume: Volume, path: Readable, intensity: Intensity, *, n4: bool) -> list[Finding]:
    """Find grey values that cannot be used as the recipe says.

    VALUE_RANGE_UNKNOWN, VALUES_TOO_LARGE, and OUTSIDE_WINDOW for a channel without a value inside the window.
    """
    findings = []
    if isinstance(intensity, Window):
        findings += [fault for c in volume.array if (fault := _outside(c, path, intensity.window))]
    if intensity == "imagenet" and white_level(volume) is None:
        details = f"{volume.array.dtype} values from {volume.array.min():.6g} to {volume.array.max():.6g}"
        how_to_fix = (
            "save it with 8 bits, as a 16-bit image or as floats from 0 to 1, or use intensity: zscore"
        )
        findings.append(Finding(Code.VALUE_RANGE_UNKNOWN, str(path), details, how_to_fix))
    if (n4 or intensity == "none") and not all(survives_float32(channel) for channel in volume.array):
        details = f"values near {volume.array.max():.6g} lie too far from zero to be told apart by "
        details += "the bias field correction" if n4 else "a network without scaling"
        how_to_fix = "subtract the scan's lowest value, or use intensity: zscore and n4: false"
        findings.append(Finding(Code.VALUES_TOO_LARGE, str(path), details, how_to_fix))
    return findings


def _outside(channel: Array, path: Readable, window: tuple[float, float]) -> Finding | None:
    """Find OUTSIDE_WINDOW in a channel (X, Y, Z) that a window makes constant."""
    low, high = float(channel.min()), float(channel.max())
    if low < window[1] and high > window[0]:
        return None
    details = f"values from {low:g} to {high:g}, all outside the window from {window[0]:g} to {window[1]:g}"
    how_to_fix = "a window is for CT in HU: is this another modality, or was it saved in other units?"
    return Finding(Code.OUTSIDE_WINDOW, str(path), details, how_to_fix)


def _not_finite(array: Array, path: Readable, which: str = "") -> Finding | None:
    """Find NAN_OR_INF, with the count and the first voxel in order of (z, y, x), or None."""
    if array.dtype.kind != "f":
        return None
    count, first = 0, None
    for start, slab in _slabs(array):
        bad = ~np.isfinite(slab)
        count += int(bad.sum())
        if first is None and bad.any():
            z, y, x = np.argwhere(bad.T)[0]
            first = (int(x), int(y), int(z) + start)
    if first is None:
        return None
    details = f"{which}{count} voxels, the first at {first}"
    return Finding(Code.NAN_OR_INF, str(path), details, "replace them, for example by the background's value")


def integer_values(array: Array, path: Path | MemoryImage) -> tuple[Array, list[Finding]]:
    """Give a label map's values (sorted int64) and faults; no values if they are no integers."""
    if fault := _not_finite(array, path):
        return np.empty(0, np.int64), [fault]
    present: set[int] = set()
    far, worst, example = 0, 0.0, 0.0
    for _, slab in _slabs(array):
        values, counts = count_values(slab)
        away = np.abs(values.astype(np.float64) - np.rint(values)) if values.dtype.kind == "f" else 0 * counts
        far += int(counts[away > LABEL_TOLERANCE].sum())
        if away.max() > worst:
            worst, example = float(away.max()), float(values[away.argmax()])
        present.update(_integers(values).tolist())
    if far:
        details = f"{far} voxels, for example {example:g}"
        how_to_fix = "was it interpolated? resample it by nearest neighbour"
        return np.empty(0, np.int64), [Finding(Code.LABEL_NOT_INTEGER, str(path), details, how_to_fix)]
    notes = []
    if worst > 0:
        details = f"up to {worst:.1e} from an integer, for example {example:.6g}"
        notes = [Finding(Code.LABEL_ROUNDED, str(path), details, "nothing to do")]
    return np.array(sorted(present), np.int64), notes


def _integers(values: Array) -> Array:
    """Round values to int64; those beyond 32 bits become ±2³¹, which no class list holds."""
    return np.clip(np.rint(values.astype(np.float64)), -_LABEL_LIMIT, _LABEL_LIMIT).astype(np.int64)


def class_indices(array: Array, classes: ClassList, where: str) -> Array:
    """Turn label values (X, Y, Z) into class indices uint8, X fastest in memory."""
    out = np.empty(array.shape, np.uint8, order="F")
    for start, slab in _slabs(array):
        integers = slab if slab.dtype.kind in "iu" else _integers(slab)
        out[:, :, start : start + slab.shape[2]] = classes.to_indices(integers, where)
    return out
