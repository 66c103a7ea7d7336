"""Facts of one scan, image or label map, measured in the one pass in which it is read.

Voxels are looked at slab by slab, so that no second volume is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from isal import isal_zlib

from medseg.grid import Array, Grid
from medseg.volume import Volume

MOST_VALUES = 2**16
"""Range of whole numbers up to which each value is counted by itself."""

_SLAB_VOXELS = 2**20
_SAMPLE = 2**13
_SHARES = (0.01, 0.5, 0.99)
_BACKGROUND_SHARE = 0.2
"""Share of a volume that its lowest value fills at least where it is the background."""

Checksum = tuple[tuple[int, ...], str, int, int]
"""Shape, the kind of numbers and two checksums of the voxels."""


@dataclass(frozen=True)
class Facts:
    """Facts of one file: ``low`` and ``high`` are its finite values' limits, in the file's own scale.

    ``axes`` are the anatomical directions of the axes as stored, such as RAS; empty for an image.

    ``dark``, ``median`` and ``bright`` are the 1st, 50th and 99th percentile of the foreground: all voxels,
    or those above the lowest value where it fills a fifth of the volume; of a sample of 8,192 voxels.
    ``checksum`` is equal for equal voxels, whatever their dtype, header and compression are; None where all
    voxels are equal. ``counts`` are value → voxels of a label map.
    """

    grid: Grid
    axes: str
    dtype: str
    low: float
    high: float
    dark: float
    median: float
    bright: float
    checksum: Checksum | None
    counts: dict[int, int] | None = None

    @property
    def extent(self) -> float:
        """The volume that a scan covers, in ml, or the area of an image, in px."""
        return size_of(self.grid, int(np.prod(self.grid.shape)))


def axis_codes(grid: Grid) -> str:
    """Name the directions of a scan's axes, such as RAS; nothing for an image."""
    return "" if grid.unit == "px" else "".join(nib.orientations.aff2axcodes(grid.affine))


def size_of(grid: Grid, voxels: int) -> float:
    """Give the volume (ml) or area (px) of so many voxels."""
    return voxels * grid.voxel_size / (1000 if grid.unit == "mm" else 1)


def measure(volume: Volume) -> tuple[Facts, ...]:
    """Measure each channel of a scan by itself, the colours of an image together."""
    if volume.grid.unit == "px":
        return (_measure(volume.array, volume.grid),)
    return tuple(_measure(channel[None], volume.grid) for channel in volume.array)


def measure_label(volume: Volume, counts: dict[int, int] | None = None) -> Facts:
    """Measure a label map, and count its values, unless ``counts`` are given.

    One whose values are no whole numbers, or too far from each other, has no counts.
    """
    facts = _measure(volume.array[:1], volume.grid)
    return replace(facts, counts=value_counts(volume.array[0]) if counts is None else counts)


def _measure(array: Array, grid: Grid) -> Facts:
    """Facts of an array (C, X, Y, Z)."""
    sample = _sample(array)
    low, high = _limits(array)
    if sample.size and np.mean(sample == low) >= _BACKGROUND_SHARE and low < high:
        sample = sample[sample > low]
    sample.sort()
    dark, median, bright = (
        float(sample[int(share * sample.size)]) if sample.size else low for share in _SHARES
    )
    return Facts(
        grid=grid,
        axes=axis_codes(grid),
        dtype=array.dtype.name,
        low=low,
        high=high,
        dark=dark,
        median=median,
        bright=bright,
        checksum=_checksum(array, low, high),
    )


def _slabs(array: Array) -> Iterator[Array]:
    """Yield views of an array (C, X, Y, Z) along its last axis, each of about a million voxels."""
    thickness = max(1, _SLAB_VOXELS // max(1, int(np.prod(array.shape[:-1]))))
    for start in range(0, array.shape[-1], thickness):
        yield array[..., start : start + thickness]


def _sample(array: Array) -> Array:
    """Give finite values of voxels evenly spread over an array, as float64."""
    flat = array.ravel(order="K") if array.size <= _SAMPLE else _every_nth(array, array.size // _SAMPLE)
    values: Array = flat.astype(np.float64)
    return values[np.isfinite(values)]


def _every_nth(array: Array, step: int) -> Array:
    """Give every ``step``-th voxel, counted in memory where the array is contiguous there."""
    step += step % 2 == 0  # so that it shares no factor with the sides, which are mostly even
    flat = array.reshape(-1, order="F" if array.flags.f_contiguous or array[0].flags.f_contiguous else "C")
    return flat[::step]


def _limits(array: Array) -> tuple[float, float]:
    """Give the lowest and the highest finite value; zeros where there is none."""
    lows, highs = [], []
    for slab in _slabs(array):
        low, high = slab.min(), slab.max()
        if not np.isfinite(low) or not np.isfinite(high):
            finite = slab[np.isfinite(slab)]
            low, high = (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)
        lows.append(float(low))
        highs.append(float(high))
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    return (low, high) if low <= high else (0.0, 0.0)


def _checksum(array: Array, low: float, high: float) -> Checksum | None:
    """Compute checksums of the values, brought to one dtype: whole numbers to integers, if they fit."""
    if low == high:
        return None
    kind = _canonical(array, low, high)
    crc, adler = 0, 1
    for channel in array:
        for slab in _slabs(channel[None]):
            content = np.asarray(slab[0].T, dtype=kind, order="C").data.cast("B")
            crc, adler = isal_zlib.crc32(content, crc), isal_zlib.adler32(content, adler)
    return array.shape, kind.kind, crc, adler


def _canonical(array: Array, low: float, high: float) -> np.dtype[np.generic]:
    """Choose the dtype that equal voxels share, however they are stored."""
    if array.dtype.kind in "iub" or all(bool((slab == np.rint(slab)).all()) for slab in _slabs(array)):
        for name in ("int16", "int32", "int64"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return np.dtype(name)
    single = array.dtype.itemsize <= 4 or all(
        bool((slab == slab.astype(np.float32)).all()) for slab in _slabs(array)
    )
    return np.dtype(np.float32 if single else np.float64)


def value_counts(array: Array) -> dict[int, int] | None:
    """Count the values of an array (X, Y, Z) of whole numbers; None for any other, or too wide a range.

    Values nearer than 1e-3 to a whole number count as that number.
    """
    low, high = _limits(array[None])
    if high - low >= MOST_VALUES:
        return None
    first = round(low)
    total = np.zeros(round(high) - first + 1, np.int64)
    for slab in _slabs(array[None]):
        whole = slab
        if slab.dtype.kind == "f":
            whole = np.rint(slab)
            if not np.isfinite(slab).all() or (np.abs(slab - whole) > 1e-3).any():
                return None
        shifted = (whole.astype(np.int64) - first).ravel(order="K")
        total += np.bincount(shifted, minlength=total.size)
    present = np.flatnonzero(total)
    return {int(i) + first: int(total[i]) for i in present}
