"""Training patches drawn by (seed, t): batch t is the same whatever was drawn before it.

A patch comes from a case drawn uniformly. With probability ``class_share`` a class is drawn uniformly among
the foreground classes of that case (the background where there is no other), then one of its known voxels,
and the window is placed so that this voxel is equally likely to be any of its pixels; otherwise slice and
place are uniform. A window that would reach beyond the slice is moved inside, which keeps the voxel in it.
A slice smaller than the window is mirrored at its end, as in prediction.

Augmentation by rotation or scale needs pixels from around the window: ``field`` is what is cut, centred on
the window, and mirrored where it leaves the slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.errors import Code, MedsegError
from medseg.preprocess.intensity import Ready
from medseg.preprocess.store import Prepared
from medseg.volume import PLANE_AXIS, Array, Plane

Pair = tuple[int, int]
Index = npt.NDArray[np.intp]

EVERY = slice(None)


class Place(NamedTuple):
    """Where a patch is cut: case, slice, and the window's first row and column in that slice."""

    case: int
    slice: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class Drawer:
    """Draws batches of ``batch`` patches from prepared, labelled cases.

    ``depth`` is the slab's number of slices (odd); ``window`` (h, w) and ``field`` (h', w') are in pixels, a
    field being larger than its window by an even number; without one it is the window.
    """

    cases: Sequence[Prepared]
    plane: Plane
    depth: int
    window: Pair
    batch: int
    seed: int
    class_share: float = 0.0
    field: Pair | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            raise MedsegError(
                Code.NOTHING_USABLE, "training", "no case to draw from", "give labelled training cases"
            )
        without = [case.name for case in self.cases if case.label is None]
        if without:
            raise ValueError(f"cases without labels cannot be drawn from: {', '.join(without)}")
        if self.depth % 2 == 0:
            raise ValueError(f"a slab has an odd number of slices, got {self.depth}")
        if any(f < w or (f - w) % 2 for f, w in zip(self._field, self.window, strict=True)):
            raise ValueError(f"field {self._field} must exceed window {self.window} by even numbers")

    def __call__(self, t: int, rows: slice = EVERY) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Batch ``t``: scaled patches (B, C·D, h', w') float32, labels (B, h', w') uint8 with void 255.

        With ``rows`` only those of the batch are read, for a process that trains on its share of it.
        """
        if self.batch % (rows.step or 1):
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "train.batch",
                f"{self.batch} patches for {rows.step} processes",
                "make the batch a multiple of the processes",
            )
        patches, labels = zip(*(self._cut(place) for place in self.places(t)[rows]), strict=True)
        return np.stack(patches), np.stack(labels)

    def places(self, t: int) -> list[Place]:
        """Where batch ``t`` is cut."""
        generator = np.random.default_rng((self.seed, t))
        return [self._place(generator) for _ in range(self.batch)]

    @property
    def _field(self) -> Pair:
        return self.field or self.window

    @cached_property
    def _labels(self) -> list[Array]:
        return [case.label for case in self.cases if case.label is not None]

    @cached_property
    def _voxels(self) -> list[list[Array]]:
        """For each case, the known voxels (N, 3) of each class that is drawn."""
        return [_by_class(case.positions) for case in self.cases]

    def _place(self, generator: np.random.Generator) -> Place:
        case = int(generator.integers(len(self.cases)))
        slices, *size = _stack_shape(self.cases[case].ready.grid.shape, self.plane)
        last = [max(0, n - w) for n, w in zip(size, self.window, strict=True)]
        classes = self._voxels[case]
        if generator.random() < self.class_share and classes:
            of_class = classes[generator.integers(len(classes))]
            voxel = of_class[generator.integers(len(of_class))]
            index, *pixel = _stack_shape(tuple(voxel.tolist()), self.plane)
            start = np.clip(pixel - generator.integers(self.window), 0, last)
        else:
            index = int(generator.integers(slices))
            start = generator.integers(np.add(last, 1))
        return Place(case, index, int(start[0]), int(start[1]))

    def _cut(self, place: Place) -> tuple[Array, Array]:
        case = self.cases[place.case]
        border = [(f - w) // 2 for f, w in zip(self._field, self.window, strict=True)]
        first = place.row - border[0], place.column - border[1]
        patch = read_field(case.ready, self.plane, place.slice, self.depth, first, self._field)
        return patch, read_label_field(self._labels[place.case], self.plane, place.slice, first, self._field)


def read_field(
    ready: Ready, plane: Plane, index: int, depth: int, first: Pair, size: Pair
) -> npt.NDArray[np.float32]:
    """A piece of a slab, scaled float32 (C·D, h', w'), rows as in :func:`medseg.patches.slabs.read_slab`.

    ``first`` is its row and column in the slice and may be negative: what lies outside the slice is
    mirrored. Only the piece is read.
    """
    stack = np.moveaxis(ready.array, PLANE_AXIS[plane] + 1, 1)
    across = np.clip(np.arange(depth) + index - depth // 2, 0, stack.shape[1] - 1)
    inside = [mirrored_index(*axis) for axis in zip(first, size, stack.shape[2:], strict=True)]
    piece = ready.normalise(_gather(stack, across, *inside))
    return piece.reshape(-1, *size)


def read_label_field(
    label: Array, plane: Plane, index: int, first: Pair, size: Pair
) -> npt.NDArray[np.uint8]:
    """The same piece of a label map (X, Y, Z), (h', w') uint8."""
    stack = np.moveaxis(label, PLANE_AXIS[plane], 0)
    inside = [mirrored_index(*axis) for axis in zip(first, size, stack.shape[1:], strict=True)]
    piece: npt.NDArray[np.uint8] = _gather(stack, np.array([index]), *inside)[0]
    return piece


def mirrored_index(first: int, length: int, size: int) -> Index:
    """The pixels of an axis of ``size`` at first, first + 1, …: mirrored outside, edge pixel not repeated."""
    if size == 1:
        return np.zeros(length, np.intp)
    period = 2 * (size - 1)
    there_and_back = np.arange(first, first + length) % period
    return np.minimum(there_and_back, period - there_and_back)


def _gather(array: Array, *indices: Index) -> Array:
    """Pick along the last three axes; only the box that holds every index is touched. A copy."""
    lows = [int(i.min()) for i in indices]
    a, b, c = (slice(low, int(i.max()) + 1) for low, i in zip(lows, indices, strict=True))
    inside = np.ix_(*(i - low for low, i in zip(lows, indices, strict=True)))
    return array[..., a, b, c][..., inside[0], inside[1], inside[2]]


def _by_class(positions: npt.NDArray[np.int16]) -> list[Array]:
    present = np.unique(positions[:, 0])
    wanted = present[present > 0] if present.any() else present
    return [positions[positions[:, 0] == c, 1:].astype(np.intp) for c in wanted]


def _stack_shape(xyz: tuple[int, ...], plane: Plane) -> list[int]:
    """Three numbers along X, Y, Z as (across slices, row, column)."""
    axis = PLANE_AXIS[plane]
    return [xyz[axis], *(n for i, n in enumerate(xyz) if i != axis)]
