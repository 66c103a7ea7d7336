"""Grey values: foreground, its mean and spread, and volumes that are scaled slab by slab.

Every rule of foreground comes down to "value > threshold", so that masks are made one axial slice at a
time. Sums run over the slices in one order and in float64: the same voxels give the same figures, bit for
bit, however the array lies in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.volume import Intensity as Intensity
from medseg.volume import Percentiles, Volume, Window, survives_float32, white_level

Foreground = Literal["auto", "all"] | float
"""``auto``: all but the lowest value where that fills a fifth; a number x: value > x; ``all``: everything."""

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Start and stop along X, Y, Z, in voxels."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's red, green and blue, from 0 to 1, as published networks expect them."""

_LOWEST_FILLS = 0.2
_N4_SHRINK = 4
_N4_SHORTEST_AXIS = 32
_BINS = 2**16
_FAR = 2.0**12
"""Largest |mean| / std for float32: of its 24 bits, 12 are left for the deviations from the mean."""
_SMALL = 2.0**-100


@dataclass(frozen=True)
class Normalization:
    """Per channel, x' = (x - mean) / std; where there are ends, of x cut off at ``low`` and ``high``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of_ends(cls, ends: Sequence[tuple[float, float]]) -> Normalization:
        """Cut off each channel at its ends, which become -1 and 1; ends that are equal become 0."""
        low, high = tuple(a for a, _ in ends), tuple(b for _, b in ends)
        middle = tuple((a + b) / 2 for a, b in ends)
        return cls(middle, tuple((b - a) / 2 or 1.0 for a, b in ends), low, high)


@dataclass(frozen=True, eq=False)
class NormalizedVolume:
    """A network's input: ``array`` (C, X, Y, Z) in its own dtype, maybe memory-mapped, and its scaling.

    It is never scaled as a whole, only piece by piece as it is read.
    """

    array: Array
    grid: Grid
    normalization: Normalization

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.grid.shape:
            raise ValueError(f"array {self.array.shape} is not (C, X, Y, Z) on a grid of {self.grid.shape}")
        scaling = self.normalization
        lengths = {len(scaling.mean), len(scaling.std), len(scaling.low) or len(scaling.mean)}
        if lengths != {len(self.array)} or len(scaling.low) != len(scaling.high):
            raise ValueError(f"{len(self.array)} channels, but normalization is {self.normalization}")

    def normalise(self, slab: Array, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Scale a piece (C, ...) of :attr:`array`; a new C-ordered float32 array, or ``out``.

        Where float32 would lose the differences between grey values (a mean far from zero beside the
        spread), the mean is subtracted in float64 first.
        """
        if out is None:
            out = np.empty(slab.shape, np.float32)
        values: Array = out if self.fits_float32 else np.empty(slab.shape, np.float64)
        if self.normalization.low:  # in the values' own type: a float32 might hold them less exactly
            slab = np.clip(slab, *self._ends(slab))
        values[...] = slab
        for channel, mean, std in zip(values, *self.mean_std, strict=True):
            channel -= mean
            channel /= std
        if values is not out:
            out[...] = values
        return out

    def _ends(self, slab: Array) -> tuple[Array, Array]:
        """Lowest and highest values, shaped as the channels of a piece (C, ...)."""
        shape = (-1, *[1] * (slab.ndim - 1))
        low, high = self.normalization.low, self.normalization.high
        return np.asarray(low).reshape(shape), np.asarray(high).reshape(shape)

    @cached_property
    def mean_std(self) -> tuple[Array, Array]:
        """Mean and standard deviation (C,) in the type that is computed in: float32, or float64."""
        mean, std = (np.asarray(part, np.float64) for part in self._mean_std)
        return (mean.astype(np.float32), std.astype(np.float32)) if self.fits_float32 else (mean, std)

    @property
    def _mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.normalization.mean, self.normalization.std

    @cached_property
    def fits_float32(self) -> bool:
        """True where arithmetic in float32 keeps the differences between grey values."""
        return all(
            abs(mean) <= _FAR * std and _SMALL < std < 1 / _SMALL
            for mean, std in zip(*self._mean_std, strict=True)
        )


def threshold(channel: Array, rule: Foreground) -> float:
    """Give the number above which a voxel of ``channel`` (X, Y, Z) is foreground; -inf if all are."""
    if rule == "all":
        return -math.inf
    if rule != "auto":
        return float(rule)
    lowest = min(s.min() for s in _axial(channel))
    filled = sum(int(np.count_nonzero(s == lowest)) for s in _axial(channel))
    return float(lowest) if filled >= _LOWEST_FILLS * channel.size else -math.inf


def foreground(channel: Array, rule: Foreground) -> npt.NDArray[np.bool_]:
    """Give the foreground mask (X, Y, Z) of ``channel`` (X, Y, Z), without a full-size temporary array."""
    above = np.float64(threshold(channel, rule))
    mask = np.empty(channel.shape, np.bool_)
    for part, values in zip(_axial(mask), _axial(channel), strict=True):
        np.greater(values, above, out=part)
    return mask


def box(volume: Volume, rule: Foreground) -> Box:
    """Give the smallest box that holds every channel's foreground; the whole volume where there is none."""
    above = [np.float64(threshold(channel, rule)) for channel in volume.array]
    occupied = [np.zeros(n, np.bool_) for n in volume.grid.shape]
    for z in range(volume.grid.shape[2]):
        channels = zip(volume.array[..., z], above, strict=True)
        mask = np.logical_or.reduce([values > limit for values, limit in channels])
        occupied[0] |= mask.any(axis=1)
        occupied[1] |= mask.any(axis=0)
        occupied[2][z] = mask.any()
    x, y, z_range = (_range(along) for along in occupied)
    return x, y, z_range


def measure(volume: Volume, rule: Foreground, method: Intensity) -> Normalization:
    """Measure each channel's mean and standard deviation over its foreground; 0 and 1 for ``none``.

    The deviation is the population's (divided by n). A constant foreground gets deviation 1; no foreground,
    mean 0 and deviation 1. ``imagenet`` is fixed, for red, green and blue from 0 to the volume's white level
    (255, 65535 or 1). A window's ends, or the percentiles of the foreground, become -1 and 1, to which values
    are cut off. Raises KEYWORD_INVALID for ``imagenet`` and another number of channels, VALUE_RANGE_UNKNOWN
    where the white level cannot be known, and VALUES_TOO_LARGE for ``none`` where float32 would lose the grey
    levels.
    """
    if method == "imagenet":
        return _imagenet(volume)
    if method == "none":
        _require_float32(volume, "without scaling, values reach the network as they are")
        return Normalization((0.0,) * len(volume.array), (1.0,) * len(volume.array))
    if isinstance(method, Window):
        return Normalization.of_ends([method.window] * len(volume.array))
    if isinstance(method, Percentiles):
        return Normalization.of_ends([_percentiles(c, rule, method.percentiles) for c in volume.array])
    moments = [_moments(channel, rule) for channel in volume.array]
    return Normalization(
        tuple(mean for mean, _ in moments), tuple(deviation or 1.0 for _, deviation in moments)
    )


def _imagenet(volume: Volume) -> Normalization:
    if len(volume.array) != 3:
        details = f"imagenet scaling of {len(volume.array)} channel(s)"
        how_to_fix = "use zscore, or images of three colours"
        raise MedsegError(Code.KEYWORD_INVALID, "preprocess.intensity", details, how_to_fix)
    white = white_level(volume)
    if white is None:
        details = (
            f"the white level of {volume.array.dtype} values up to {volume.array.max():.6g} is not known"
        )
        how_to_fix = "save 8-bit images, 16-bit images or floats from 0 to 1, or use intensity: zscore"
        raise MedsegError(Code.VALUE_RANGE_UNKNOWN, "preprocess.intensity", details, how_to_fix)
    mean, deviation = (tuple(white * x for x in part) for part in (_IMAGENET_MEAN, _IMAGENET_DEVIATION))
    return Normalization(mean, deviation)


def _require_float32(volume: Volume, why: str) -> None:
    if not all(survives_float32(channel) for channel in volume.array):
        details = f"values near {volume.array.max():.6g} lie too far from zero for float32: {why}"
        how_to_fix = "subtract the scan's lowest value, or use intensity: zscore and n4: false"
        raise MedsegError(Code.VALUES_TOO_LARGE, "preprocess", details, how_to_fix)


def correct_bias(volume: Volume) -> Volume:
    """Divide each channel by its smooth multiplicative bias field (N4); a new float32 volume.

    The field is fitted to the positive voxels of the ``auto`` foreground, on a grid four times coarser
    where every axis has 32 voxels or more. One thread: the sums, and so the bits, depend on their number.
    Raises VALUES_TOO_LARGE where float32 would lose the grey levels: a field that multiplies them cannot be
    told from an offset so large.
    """
    _require_float32(volume, "a bias field cannot be estimated")
    corrected = [_without_bias(channel, volume.grid) for channel in volume.array]
    return volume.with_array(np.stack(corrected))


def _axial(array: Array) -> Iterator[Array]:
    """Yield the slices (X, Y) of an array (X, Y, Z), as views."""
    return (array[:, :, z] for z in range(array.shape[2]))


def _range(occupied: npt.NDArray[np.bool_]) -> tuple[int, int]:
    places = np.flatnonzero(occupied)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, len(occupied))


def _moments(channel: Array, rule: Foreground) -> tuple[float, float]:
    """Compute mean and standard deviation over the foreground, in two passes (one would cancel digits)."""
    above = np.float64(threshold(channel, rule))
    count, total = 0, 0.0
    for values in _axial(channel):
        chosen = values[values > above]
        count += chosen.size
        total += float(chosen.sum(dtype=np.float64))
    if count == 0:
        return 0.0, 0.0
    mean = total / count
    rest, squares = 0.0, 0.0
    for values in _axial(channel):
        offsets = values[values > above].astype(np.float64) - mean
        rest += float(offsets.sum())
        squares += float(offsets @ offsets)
    std = math.sqrt(squares / count)
    if abs(mean) > _FAR * std:  # the sum has lost digits that the offsets keep
        mean += rest / count
        std = math.sqrt(max(squares / count - (rest / count) ** 2, 0.0))
    return mean, std


def _percentiles(channel: Array, rule: Foreground, wanted: tuple[float, float]) -> tuple[float, float]:
    """Measure two percentiles of the foreground, in two passes; without any foreground both are 0.

    Values are counted in 65,536 bins from the least to the largest, so that a percentile is one of the
    values but for a bin's width, and exactly one for integers of that range.
    """
    above = np.float64(threshold(channel, rule))
    least, most = math.inf, -math.inf
    for values in _axial(channel):
        if (chosen := values[values > above]).size:
            least, most = min(least, float(chosen.min())), max(most, float(chosen.max()))
    if least > most:
        return 0.0, 0.0
    step = max(1.0, math.ceil((most - least) / (_BINS - 1))) if channel.dtype.kind in "iu" else 0.0
    step = step or (most - least) / (_BINS - 1) or 1.0
    counts = np.zeros(_BINS, np.int64)
    for values in _axial(channel):
        bins = np.rint((values[values > above].astype(np.float64) - least) / step).astype(np.intp)
        counts += np.bincount(bins, minlength=_BINS)
    ranks = np.rint(np.divide(wanted, 100) * (counts.sum() - 1))
    low, high = (least + step * np.searchsorted(counts.cumsum(), ranks, side="right")).tolist()
    return low, min(high, most)


def _without_bias(channel: Array, grid: Grid) -> npt.NDArray[np.float32]:
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    mask = foreground(channel, "auto") & (channel > 0)
    if not mask.any():
        return channel.astype(np.float32)
    image = _to_sitk(channel.astype(np.float32), grid)
    inside = _to_sitk(mask.astype(np.uint8), grid)
    shrink = [_N4_SHRINK if min(grid.shape) >= _N4_SHORTEST_AXIS else 1] * 3
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(sitk.Shrink(image, shrink), sitk.Shrink(inside, shrink))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0)
    corrected: npt.NDArray[np.float32] = (channel / np.exp(field)).astype(np.float32)
    return corrected


def _to_sitk(array: Array, grid: Grid) -> Any:
    """Make an image whose x, y, z are the array's (X, Y, Z); only the spacing matters here."""
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing)
    return image
