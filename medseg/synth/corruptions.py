"""A fixed ladder of corruptions of scans: what goes wrong in hospitals, from mild to severe, always the same.

for step in LADDER:
    image, label = corrupt(scan, truth, step, seed)

Corruptions of grey values leave the label map as it is; those of geometry move it along, so that it remains
the truth of the corrupted scan. A missing part is missing from the scan alone: the truth keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.grid import Array
from medseg.synth.fields import smooth_field
from medseg.volume import Volume


@dataclass(frozen=True)
class Step:
    """A rung of the ladder: a kind of corruption and its amount, in the unit that the kind has."""

    kind: str
    amount: float

    def __str__(self) -> str:
        return f"{self.kind} {self.amount:g}"


_AMOUNTS: Mapping[str, tuple[float, ...]] = {
    "noise": (0.1, 0.3, 0.6),
    "bias field": (0.2, 0.5, 0.8),
    "blur": (1.0, 2.0, 4.0),
    "contrast": (0.5, 0.2, -1.0),
    "thick slices": (2.0, 4.0, 6.0),
    "rotation": (15.0, 40.0, 90.0),
    "missing part": (0.15, 0.35, 0.6),
    "wrong spacing": (1.15, 1.5, 2.0),
    "swapped axes": (0.0, 1.0, 2.0),
}
"""Kind → amounts: noise's standard deviation and the bias field's sd of its logarithm, as shares of the
foreground's spread (5 % to 95 %) and of 1; blur's sd (voxels); the factor of the contrast, -1 being
inverted; averaged voxels across slices; degrees about a drawn axis; share of the extent that is missing; the
factor by which voxels differ from what the header says; the axis that stays where the two others are swapped.
"""

LADDER = tuple(Step(kind, amount) for kind, amounts in _AMOUNTS.items() for amount in amounts)
"""All rungs; amounts of a kind grow, but for swapped axes, which are all equally wrong."""


def corrupt(image: Volume, label: Volume, step: Step, seed: int) -> tuple[Volume, Volume]:
    """Corrupt a scan (C, X, Y, Z) and move its label map (1, X, Y, Z) along; the same for the same seed.

    Grey values become float32 where they change. Labels keep their dtype and are never interpolated linearly.
    Raises KeyError for an unknown kind.
    """
    corruption = _KINDS[step.kind]
    return corruption(image, label, step.amount, np.random.default_rng(seed))


def _noise(image: Volume, label: Volume, amount: float, rng: np.random.Generator) -> tuple[Volume, Volume]:
    def add(values: Array) -> Array:
        noise = rng.normal(0, amount * _spread(values), values.shape)
        return np.where(values > values.min(), values + noise, values)  # brains are stripped after the scan

    return _each_channel(image, add), label


def _bias(image: Volume, label: Volume, amount: float, rng: np.random.Generator) -> tuple[Volume, Volume]:
    across_mm = 0.5 * max(n * edge for n, edge in zip(image.grid.shape, image.grid.spacing, strict=True))
    field = smooth_field(image.grid.shape, float(np.mean(image.grid.spacing)), across_mm, amount, rng)

    def multiply(values: Array) -> Array:
        low = values.min()
        return np.asarray(low + (values - low) * np.exp(field))

    return _each_channel(image, multiply), label


def _blur(image: Volume, label: Volume, amount: float, _: np.random.Generator) -> tuple[Volume, Volume]:
    return _each_channel(image, lambda values: ndimage.gaussian_filter(values, amount)), label


def _contrast(image: Volume, label: Volume, amount: float, _: np.random.Generator) -> tuple[Volume, Volume]:
    def change(values: Array) -> Array:
        inside = values > values.min()
        middle = np.median(values[inside]) if inside.any() else 0.0
        return np.where(inside, middle + amount * (values - middle), values)

    return _each_channel(image, change), label


def _thick_slices(
    image: Volume, label: Volume, amount: float, _: np.random.Generator
) -> tuple[Volume, Volume]:
    thick, axis = int(amount), int(np.argmax(image.grid.spacing))
    nearest = np.arange(image.grid.shape[axis]) // thick

    def average(values: Array) -> Array:
        sums = np.add.reduceat(values, np.arange(0, values.shape[axis], thick), axis=axis)
        shape = [-1 if a == axis else 1 for a in range(3)]
        return np.take(sums / np.bincount(nearest).reshape(shape), nearest, axis=axis)

    return _each_channel(image, average), label


def _rotation(image: Volume, label: Volume, amount: float, rng: np.random.Generator) -> tuple[Volume, Volume]:
    axis = int(rng.integers(3))
    plane = [a for a in range(3) if a != axis]
    angle = np.deg2rad(amount) * (1 if rng.random() < 0.5 else -1)
    turn = np.eye(3)
    turn[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    edges = np.diag(image.grid.spacing)
    return _moved(image, label, np.linalg.inv(edges) @ turn @ edges)


def _missing(image: Volume, label: Volume, amount: float, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Fill a share of the labelled extent, from one end of a drawn axis, with the lowest value."""
    axis, from_start = int(rng.integers(3)), rng.random() < 0.5
    across = tuple(a for a in range(3) if a != axis)
    labelled = np.flatnonzero((label.array[0] > 0).any(axis=across))
    first, last = (labelled[0], labelled[-1] + 1) if len(labelled) else (0, image.grid.shape[axis])
    cut = round(amount * (last - first))
    part = slice(0, first + cut) if from_start else slice(last - cut, None)
    array = image.array.astype(np.float32)
    place = (slice(None), *(part if a == axis else slice(None) for a in range(3)))
    array[place] = array.min(axis=(1, 2, 3), keepdims=True)
    return image.with_array(array), label


def _spacing(image: Volume, label: Volume, amount: float, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Stretch the anatomy along an axis: voxels have another edge than the header says."""
    matrix = np.eye(3)
    axis = int(rng.integers(3))
    matrix[axis, axis] = amount if rng.random() < 0.5 else 1 / amount
    return _moved(image, label, matrix)


def _axes(image: Volume, label: Volume, amount: float, _: np.random.Generator) -> tuple[Volume, Volume]:
    """Swap two axes of the arrays; the header still says that they lie as before."""
    first, second = (a for a in range(3) if a != int(amount))
    order = [0, 1, 2]
    order[first], order[second] = second, first

    def swap(volume: Volume) -> Volume:
        array = volume.array.transpose(0, *(a + 1 for a in order))
        shape = (array.shape[1], array.shape[2], array.shape[3])
        return volume.with_array(np.asfortranarray(array), type(volume.grid)(shape, volume.grid.affine))

    return swap(image), swap(label)


def _moved(image: Volume, label: Volume, matrix: Array) -> tuple[Volume, Volume]:
    """Read both at ``matrix`` (3, 3) times the voxels' positions from the centre; beyond is nothing."""
    centre = (np.array(image.grid.shape) - 1) / 2
    offset = centre - matrix @ centre

    def move(values: Array) -> Array:
        low = values.min()
        return np.asarray(ndimage.affine_transform(values - low, matrix, offset, order=1) + low)

    labels = ndimage.affine_transform(label.array[0], matrix, offset, order=0)
    return _each_channel(image, move), label.with_array(labels[None])


def _each_channel(image: Volume, change: Callable[[Array], Array]) -> Volume:
    channels = [change(channel.astype(np.float32)).astype(np.float32) for channel in image.array]
    return image.with_array(np.stack(channels))


def _spread(values: Array) -> float:
    """The range from 5 % to 95 % of what is above the lowest value; 1 of a constant channel."""
    inside = values[values > values.min()]
    low, high = np.quantile(inside, (0.05, 0.95)) if len(inside) else (0.0, 1.0)
    return float(high - low) or 1.0


_KINDS: Mapping[str, Callable[[Volume, Volume, float, np.random.Generator], tuple[Volume, Volume]]] = {
    "noise": _noise,
    "bias field": _bias,
    "blur": _blur,
    "contrast": _contrast,
    "thick slices": _thick_slices,
    "rotation": _rotation,
    "missing part": _missing,
    "wrong spacing": _spacing,
    "swapped axes": _axes,
}
