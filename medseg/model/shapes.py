"""Sizes and shapes of structures: measured on label maps, their ranges in training, and what is far off.

A label map that collapsed, while every step before it said success, is told from a plausible one by these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from medseg.classes import VOID, ClassList
from medseg.errors import Code, Finding
from medseg.grid import Array, Grid

FACTOR = 2.0
"""A volume or extent may be this much smaller or larger than any of the training, and a surface rougher."""

SHARE = 0.5
"""A structure's largest piece may hold this share of what the training's most scattered one held."""

_LEAST_HALF_WIDTH = 0.1
"""Half-width of a range of logarithms, at least: few training cases lie close together by chance."""

_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Shape:
    """One structure of one case: volume (ml), extents along R, A, S (mm), and two shares of form.

    ``largest`` is the largest connected piece's share of the voxels. ``roughness`` is surface / volume^(2/3),
    6 for a cube. An absent structure has volume 0.
    """

    volume_ml: float
    extent_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    largest: float = 0.0
    roughness: float = 0.0


class ShapeRange(BaseModel):
    """The least and largest figures of a structure over training cases that have it.

    ``always`` is true if all of them have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    always: bool
    volume_ml: tuple[float, float]
    extent_mm: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    largest: float
    roughness: float


def measure(labels: Array, grid: Grid, classes: ClassList) -> dict[str, Shape]:
    """Measure every foreground class, or mask, of labels (X, Y, Z) uint8: class indices, or bits of masks."""
    from scipy import ndimage  # here, as every command imports this module, and this takes 0.15 s

    if classes.multilabel:
        masks = enumerate(_bits(labels, len(classes.names)))
        return {classes.names[index]: _shape(mask, grid) for index, mask in masks}
    # As labels are predicted, with X fastest, their transpose is in the order in which scipy walks.
    boxes = [box and box[::-1] for box in ndimage.find_objects(labels.T, max_label=len(classes))]
    shapes = {}
    for index in classes.foreground:
        # A box around class 0 is not given; a list without background has it as foreground.
        box = boxes[index - 1] if index else (slice(None),) * 3
        name = classes.names[index]
        shapes[name] = Shape(0.0) if box is None else _shape(labels[box] == index, grid)
    return shapes


def _bits(labels: Array, count: int) -> Iterator[Array]:
    return (((labels >> bit & 1) == 1) & (labels != VOID) for bit in range(count))


def _shape(mask: Array, grid: Grid) -> Shape:
    """Measure a mask (X, Y, Z) bool with the voxels of a grid."""
    from scipy import ndimage

    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return Shape(0.0)
    volume = voxels * grid.voxel_size
    pieces, _ = ndimage.label(mask.T, np.ones((3, 3, 3)))  # of any order the same pieces: X is the fastest
    largest = int(np.bincount(pieces[mask.T]).max())  # of the mask alone: half the time of all voxels
    roughness = _surface_mm2(mask, grid) / float(volume) ** (2 / 3)
    return Shape(volume / _MM3_PER_ML, _extent_mm(mask, grid), largest / voxels, roughness)


def _extent_mm(mask: Array, grid: Grid) -> tuple[float, float, float]:
    """Edges of the box around a mask, along the axes of R, A, S that the grid's are nearest to."""
    edges = [0.0, 0.0, 0.0]
    nearest = np.argmax(np.abs(grid.affine[:3, :3] / np.array(grid.spacing)), axis=0)
    for axis, spacing in enumerate(grid.spacing):
        across = tuple(a for a in range(3) if a != axis)
        edges[int(nearest[axis])] += float(np.ptp(np.flatnonzero(mask.any(axis=across))) + 1) * spacing
    return edges[0], edges[1], edges[2]


def _surface_mm2(mask: Array, grid: Grid) -> float:
    """Area of the faces between voxels inside and outside; what lies beyond the array is outside."""
    total, padded = 0.0, np.pad(mask, 1).astype(np.int8)
    for axis, spacing in enumerate(grid.spacing):
        faces = np.count_nonzero(np.diff(padded, axis=axis))
        total += faces * grid.voxel_size / spacing
    return float(total)


def ranges(measured: Sequence[Mapping[str, Shape]]) -> dict[str, ShapeRange]:
    """The range of each structure over cases; none of a structure that no case has."""
    names = dict.fromkeys(name for shapes in measured for name in shapes)
    by_name = {}
    for name in names:
        every = [shapes[name] for shapes in measured if name in shapes]
        present = [shape for shape in every if shape.volume_ml > 0]
        if present:
            by_name[name] = _range(present, always=len(present) == len(every))
    return by_name


def _range(shapes: Sequence[Shape], *, always: bool) -> ShapeRange:
    volumes = [shape.volume_ml for shape in shapes]
    extents = [[shape.extent_mm[axis] for shape in shapes] for axis in range(3)]
    right, anterior, superior = ((_digits(min(e)), _digits(max(e))) for e in extents)
    return ShapeRange(
        always=always,
        volume_ml=(_digits(min(volumes)), _digits(max(volumes))),
        extent_mm=(right, anterior, superior),
        largest=_digits(min(shape.largest for shape in shapes)),
        roughness=_digits(max(shape.roughness for shape in shapes)),
    )


def merged(of_members: Sequence[Mapping[str, ShapeRange]]) -> dict[str, ShapeRange]:
    """The ranges of a model of several members: from the least to the largest figures of all of them.

    A structure that one member does not know is left out.
    """
    if not of_members:
        return {}
    names = [name for name in of_members[0] if all(name in known for known in of_members)]
    return {name: _joined([known[name] for known in of_members]) for name in names}


def _joined(known: Sequence[ShapeRange]) -> ShapeRange:
    def around(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
        return min(low for low, _ in pairs), max(high for _, high in pairs)

    right, anterior, superior = (around([one.extent_mm[axis] for one in known]) for axis in range(3))
    return ShapeRange(
        always=all(one.always for one in known),
        volume_ml=around([one.volume_ml for one in known]),
        extent_mm=(right, anterior, superior),
        largest=min(one.largest for one in known),
        roughness=max(one.roughness for one in known),
    )


def check(measured: Mapping[str, Shape], known: Mapping[str, ShapeRange], where: object) -> list[Finding]:
    """Compare a case's structures with the training's: IMPLAUSIBLE if any is far outside, or nothing."""
    problems = [
        f"{name}: {problem}"
        for name, range_ in known.items()
        if name in measured
        for problem in _problems(measured[name], range_)
    ]
    details = "; ".join(problems)
    return [Finding(Code.IMPLAUSIBLE, str(where), details, "review the result")] if problems else []


def _problems(shape: Shape, known: ShapeRange) -> Iterator[str]:
    if shape.volume_ml == 0:
        if known.always:
            yield "absent; every training case has it"
        return
    low, high = known.volume_ml
    if not low / FACTOR <= shape.volume_ml <= high * FACTOR:
        yield f"{shape.volume_ml:.3g} ml; trained on {low:.3g} to {high:.3g} ml"
    for length, (least, most), axis in zip(shape.extent_mm, known.extent_mm, "RAS", strict=True):
        if not least / FACTOR <= length <= most * FACTOR:
            yield f"{length:.3g} mm along {axis}; trained on {least:.3g} to {most:.3g} mm"
    if shape.largest < SHARE * known.largest:
        yield f"its largest piece holds {shape.largest:.0%}; {known.largest:.0%} or more in training"
    if shape.roughness > FACTOR * known.roughness:
        times = shape.roughness / known.roughness
        yield f"its surface is {times:.1f} times as rough as the roughest of the training"


def distances(shape: Shape, known: ShapeRange) -> dict[str, float]:
    """Distances from the middle of the training's ranges, all 0 or more, larger being less plausible.

    ``size`` and ``extent`` are in half-widths of the range of logarithms, at most 4; ``pieces`` is the share
    outside the largest piece beyond that of the training; ``roughness`` the logarithm of the excess.
    """
    if shape.volume_ml == 0:
        return {"size": _FARTHEST, "extent": _FARTHEST, "pieces": 1.0, "roughness": 1.0}
    extents = zip(shape.extent_mm, known.extent_mm, strict=True)
    return {
        "size": _off_middle(shape.volume_ml, known.volume_ml),
        "extent": max(_off_middle(length, bounds) for length, bounds in extents),
        "pieces": max(0.0, known.largest - shape.largest),
        "roughness": min(1.0, max(0.0, math.log(shape.roughness / known.roughness))),
    }


_FARTHEST = 4.0


def _off_middle(value: float, bounds: tuple[float, float]) -> float:
    low, high = (math.log(bound) for bound in bounds)
    half = max((high - low) / 2, _LEAST_HALF_WIDTH)
    return min(_FARTHEST, abs(math.log(value) - (low + high) / 2) / half)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
