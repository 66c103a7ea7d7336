"""Grey values: what counts as foreground, its mean and spread, and volumes that are scaled slab by slab.

Every rule of foreground comes down to "value > threshold", so that masks are made one axial slice at a
time. Sums run over the slices in one order and in float64: the same voxels give the same figures, bit for
bit, however the array lies in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - its users' name for it

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.volume import Volume

Foreground = Literal["auto", "all"] | float
"""``auto``: all but the lowest value where that fills a fifth; a number x: value > x; ``all``: everything."""

Intensity = Literal["zscore", "imagenet", "none"]
"""Scaling by each volume's own foreground, by ImageNet's colours, or not at all."""

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Start and stop along X, Y, Z, in voxels."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of the training images' red, green and blue, from 0 to 1, as published bodies were trained on them."""

_LOWEST_FILLS = 0.2
_N4_SHRINK = 4
_N4_SHORTEST_AXIS = 32


@dataclass(frozen=True)
class Normalization:
    """Per channel, x' = (x - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class NormalizedVolume:
    """What networks see: ``array`` (C, X, Y, Z) in its own dtype, maybe memory-mapped, and how to scale it.

    It is never scaled as a whole, only piece by piece as it is read.
    """

    array: Array
    grid: Grid
    normalization: Normalization

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.grid.shape:
            raise ValueError(f"array {self.array.shape} is not (C, X, Y, Z) on a grid of {self.grid.shape}")
        if not len(self.array) == len(self.normalization.mean) == len(self.normalization.std):
            raise ValueError(f"{len(self.array)} channels, but normalization is {self.normalization}")

    def normalise(self, slab: Array) -> npt.NDArray[np.float32]:
        """Scale a piece (C, ...) of :attr:`array`; a new C-ordered float32 array."""
        each = (-1,) + (1,) * (slab.ndim - 1)
        values = slab.astype(np.float32, order="C", copy=True)
        values -= np.asarray(self.normalization.mean, np.float32).reshape(each)
        values /= np.asarray(self.normalization.std, np.float32).reshape(each)
        return values


def threshold(channel: Array, rule: Foreground) -> float:
    """The number above which a voxel of ``channel`` (X, Y, Z) is foreground; -inf where every voxel is."""
    if rule == "all":
        return -math.inf
    if rule != "auto":
        return float(rule)
    lowest = min(s.min() for s in _axial(channel))
    filled = sum(int(np.count_nonzero(s == lowest)) for s in _axial(channel))
    return float(lowest) if filled >= _LOWEST_FILLS * channel.size else -math.inf


def foreground(channel: Array, rule: Foreground) -> npt.NDArray[np.bool_]:
    """The foreground mask (X, Y, Z) of ``channel`` (X, Y, Z); without a full-size temporary beside it."""
    above = np.float64(threshold(channel, rule))
    mask = np.empty(channel.shape, np.bool_)
    for part, values in zip(_axial(mask), _axial(channel), strict=True):
        np.greater(values, above, out=part)
    return mask


def box(volume: Volume, rule: Foreground) -> Box:
    """The smallest box that holds every channel's foreground; the whole volume where there is none."""
    above = [np.float64(threshold(channel, rule)) for channel in volume.array]
    hit = [np.zeros(n, np.bool_) for n in volume.grid.shape]
    for z in range(volume.grid.shape[2]):
        channels = zip(volume.array[..., z], above, strict=True)
        mask = np.logical_or.reduce([values > limit for values, limit in channels])
        hit[0] |= mask.any(axis=1)
        hit[1] |= mask.any(axis=0)
        hit[2][z] = mask.any()
    x, y, z_range = (_range(h) for h in hit)
    return x, y, z_range


def measure(volume: Volume, rule: Foreground, method: Intensity) -> Normalization:
    """Shift and scale of each channel: mean and standard deviation over its foreground, or 0 and 1.

    The deviation is the population's (divided by n). A constant foreground gets scale 1; no foreground,
    shift 0 and scale 1. ``imagenet`` is fixed, for red, green and blue from 0 to 255; it raises
    KEYWORD_INVALID for another number of channels.
    """
    if method == "imagenet":
        return _imagenet(len(volume.array))
    if method == "none":
        return Normalization((0.0,) * len(volume.array), (1.0,) * len(volume.array))
    moments = [_moments(channel, rule) for channel in volume.array]
    return Normalization(
        tuple(mean for mean, _ in moments), tuple(deviation or 1.0 for _, deviation in moments)
    )


def _imagenet(channels: int) -> Normalization:
    if channels != 3:
        found = f"imagenet scaling of {channels} channel(s)"
        raise MedsegError(
            Code.KEYWORD_INVALID, "preprocess.intensity", found, "use zscore, or images of three colours"
        )
    mean, deviation = (tuple(255 * x for x in part) for part in (_IMAGENET_MEAN, _IMAGENET_DEVIATION))
    return Normalization(mean, deviation)


def correct_bias(volume: Volume) -> Volume:
    """Divide each channel by its smooth multiplicative bias field (N4); a new float32 volume.

    The field is fitted to the positive voxels of the ``auto`` foreground, on a grid four times coarser
    where every axis has 32 voxels or more. One thread: the sums, and so the bits, depend on their number.
    """
    corrected = [_without_bias(channel, volume.grid) for channel in volume.array]
    return volume.with_array(np.stack(corrected))


def _axial(array: Array) -> Iterator[Array]:
    """The slices (X, Y) of an array (X, Y, Z), as views."""
    return (array[:, :, z] for z in range(array.shape[2]))


def _range(hit: npt.NDArray[np.bool_]) -> tuple[int, int]:
    found = np.flatnonzero(hit)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, len(hit))


def _moments(channel: Array, rule: Foreground) -> tuple[float, float]:
    """Mean and standard deviation over the foreground, in two passes (one would cancel digits)."""
    above = np.float64(threshold(channel, rule))
    count, total = 0, 0.0
    for values in _axial(channel):
        chosen = values[values > above]
        count += chosen.size
        total += float(chosen.sum(dtype=np.float64))
    if count == 0:
        return 0.0, 0.0
    mean = total / count
    squares = 0.0
    for values in _axial(channel):
        offsets = values[values > above].astype(np.float64) - mean
        squares += float(offsets @ offsets)
    return mean, math.sqrt(squares / count)


def _without_bias(channel: Array, grid: Grid) -> npt.NDArray[np.float32]:
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


def _to_sitk(array: Array, grid: Grid) -> sitk.Image:
    """An image whose x, y, z are the array's (X, Y, Z); only the spacing matters here."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing)
    return image
