"""Training patches drawn by (seed, t): batch t is the same whatever was drawn before it.

A patch comes from a case drawn uniformly; by the order ``shuffled``, from the next case of a permutation
drawn by (seed, epoch), the last batch of an epoch being filled up with the epoch's first cases again. With
probability ``foreground_oversampling`` a class is drawn uniformly among that case's foreground classes (the
background where there is no other), then one of its known voxels, and the window is placed so that this voxel
is equally likely to be any of its pixels; otherwise slice and place are uniform. A window that would reach
beyond the slice is moved inside, which keeps the voxel in it. A slice smaller than the window is mirrored at
its end, as in prediction. Of several planes, one is drawn uniformly for each patch.

Augmentation by rotation or scale needs pixels from around the window: ``field`` is what is cut, centred on
the window, and mirrored where it leaves the slice. Elastic deformation needs other pixels for each patch:
``boxes`` says which, and what is cut says where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.classes import VOID
from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Plane, planes_of
from medseg.preprocess.intensity import NormalizedVolume
from medseg.preprocess.store import PreprocessedCase

Pair = tuple[int, int]
Index = npt.NDArray[np.intp]

EVERY = slice(None)

_STREAM = 3  # keeps permutations apart from the places of batches and from other streams


class PatchLocation(NamedTuple):
    """Where a patch is cut: case, slice of a plane, the window's first row and column, negative outside."""

    case: int
    slice: int
    row: int
    column: int
    plane: Plane


@dataclass(frozen=True, eq=False)
class PatchSampler:
    """Draws batches of ``batch`` patches from prepared, labelled cases, along one ``plane`` or several.

    ``depth`` is the slab's number of slices (odd); ``window`` (h, w) and ``field`` (h', w') are in pixels, a
    field being larger than its window by an even number; without one it is the window. ``border`` is the
    border of the window on each side for which a network of valid convolutions gives nothing: what is placed
    in the slice is the window without it.

    Class 0 is the ``background``, or drawn like the others. What lies outside a slice is mirrored; labels
    there are void with ``outside`` void.

    ``extras`` names arrays of the cases that are cut beside the labels. ``boxes`` gives, for batch t and each
    patch's window (B, 2, 2) as its start and its slice's size, the first row and column of its field (B, 2)
    and one size (h', w') for all.
    """

    cases: Sequence[PreprocessedCase]
    plane: Plane | tuple[Plane, ...]
    depth: int
    window: Pair
    batch: int
    seed: int
    foreground_oversampling: float = 0.0
    field: Pair | None = None
    extras: tuple[str, ...] = ()
    boxes: Callable[[int, Index], tuple[Index, Pair]] | None = None
    border: int = 0
    background: bool = True
    order: Literal["random", "shuffled"] = "random"
    outside: Literal["mirror", "void"] = "mirror"

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
        lacking = [case.name for case in self.cases if set(self.extras) - case.extras.keys()]
        if lacking:
            raise ValueError(f"cases without all of {self.extras}: {', '.join(lacking)}")
        if any(f < w or (f - w) % 2 for f, w in zip(self._field, self.window, strict=True)):
            raise ValueError(f"field {self._field} must exceed window {self.window} by even numbers")

    def __call__(self, t: int, rows: slice = EVERY) -> tuple[Array, ...]:
        """Batch ``t``: scaled patches (B, C·D, h', w') float32, labels (B, h', w') uint8 with void 255.

        Then each of ``extras``, (B, h', w') float32; then, with ``boxes``, the placement (B, 3, 2) that
        :func:`medseg.patches.augment.move` takes. With ``rows`` only those of the batch are read, for a
        process that trains on its share of it.
        """
        if self.batch % (rows.step or 1):
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "train.batch",
                f"{self.batch} patches for {rows.step} processes",
                "make the batch a multiple of the processes",
            )
        places = self.places(t)
        placement, size = self._placement(t, places)
        cuts = zip(places[rows], placement[rows, 2].tolist(), strict=True)
        arrays = zip(*(self._cut(place, (row, column), size) for place, (row, column) in cuts), strict=True)
        batch = tuple(np.stack(array) for array in arrays)
        return batch if self.boxes is None else (*batch, placement[rows])

    def places(self, t: int) -> list[PatchLocation]:
        """Where batch ``t`` is cut."""
        generator = np.random.default_rng((self.seed, t))
        if self.order == "random":
            return [
                self._place(int(generator.integers(len(self.cases))), generator) for _ in range(self.batch)
            ]
        return [self._place(case, generator) for case in self._turn(t)]

    @property
    def steps_shuffled(self) -> int:
        """Batches in which every case is used once."""
        return -(-len(self.cases) // self.batch)

    def _turn(self, t: int) -> list[int]:
        """The cases of batch ``t`` where each is used once an epoch."""
        epoch, step = divmod(t, self.steps_shuffled)
        order = np.random.default_rng((self.seed, epoch, _STREAM)).permutation(len(self.cases))
        places = np.arange(step * self.batch, (step + 1) * self.batch) % len(self.cases)
        return [int(case) for case in order[places]]

    @property
    def _field(self) -> Pair:
        return self.field or self.window

    @cached_property
    def _planes(self) -> tuple[Plane, ...]:
        return planes_of(self.plane)

    @cached_property
    def _labels(self) -> list[Array]:
        return [case.label for case in self.cases if case.label is not None]

    @cached_property
    def _voxels(self) -> list[list[Array]]:
        """For each case, the known voxels (N, 3) of each class that is drawn."""
        return [_by_class(case.positions, int(self.background)) for case in self.cases]

    def _place(self, case: int, generator: np.random.Generator) -> PatchLocation:
        plane = self._planes[0]
        if len(self._planes) > 1:  # one plane alone takes no number from the generator
            plane = self._planes[int(generator.integers(len(self._planes)))]
        slices, *size = _stack_shape(self.cases[case].ready.grid.shape, plane)
        placed = np.subtract(self.window, 2 * self.border)
        last = [max(0, n - w) for n, w in zip(size, placed, strict=True)]
        classes = self._voxels[case]
        if generator.random() < self.foreground_oversampling and classes:
            of_class = classes[generator.integers(len(classes))]
            voxel = of_class[generator.integers(len(of_class))]
            index, *pixel = _stack_shape(tuple(voxel.tolist()), plane)
            start = np.clip(pixel - generator.integers(placed), 0, last)
        else:
            index = int(generator.integers(slices))
            start = generator.integers(np.add(last, 1))
        return PatchLocation(case, index, int(start[0]) - self.border, int(start[1]) - self.border, plane)

    def _placement(self, t: int, places: list[PatchLocation]) -> tuple[Index, Pair]:
        """Where each window lies, how large its slice is, where its field starts (B, 3, 2); fields' size."""
        start = np.array([(place.row, place.column) for place in places], np.intp)
        shapes = [(self.cases[place.case].ready.grid.shape, place.plane) for place in places]
        slices = np.array([_stack_shape(*shape)[1:] for shape in shapes], np.intp)
        if self.boxes is None:
            first, size = start - np.subtract(self._field, self.window) // 2, self._field
        else:
            first, size = self.boxes(t, np.stack([start, slices], axis=1))
        return np.stack([start, slices, first], axis=1), size

    def _cut(self, place: PatchLocation, first: Pair, size: Pair) -> list[Array]:
        case, where = self.cases[place.case], (place.plane, place.slice)
        patch = read_field(case.ready, *where, self.depth, first, size)
        label = read_label_field(self._labels[place.case], *where, first, size)
        if self.outside == "void":
            slice_size = _stack_shape(case.ready.grid.shape, place.plane)[1:]
            rows, columns = (_inside(*axis) for axis in zip(first, size, slice_size, strict=True))
            label[~np.outer(rows, columns)] = VOID
        extras = [read_label_field(case.extras[name], *where, first, size) for name in self.extras]
        return [patch, label, *(extra.astype(np.float32) for extra in extras)]


def read_field(
    ready: NormalizedVolume, plane: Plane, index: int, depth: int, first: Pair, size: Pair
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


def read_label_field(label: Array, plane: Plane, index: int, first: Pair, size: Pair) -> Array:
    """The same piece of a label map or weight map (X, Y, Z), (h', w') of its dtype."""
    stack = np.moveaxis(label, PLANE_AXIS[plane], 0)
    inside = [mirrored_index(*axis) for axis in zip(first, size, stack.shape[1:], strict=True)]
    piece: Array = _gather(stack, np.array([index]), *inside)[0]
    return piece


def mirrored_index(first: int, length: int, size: int) -> Index:
    """The pixels of an axis of ``size`` at first, first + 1, …: mirrored outside, edge pixel not repeated."""
    if size == 1:
        return np.zeros(length, np.intp)
    period = 2 * (size - 1)
    there_and_back = np.arange(first, first + length) % period
    return np.minimum(there_and_back, period - there_and_back)


def _inside(first: int, length: int, size: int) -> npt.NDArray[np.bool_]:
    """Which of first, first + 1, … are pixels of an axis of ``size``."""
    at = np.arange(first, first + length)
    return (at >= 0) & (at < size)


def _gather(array: Array, *indices: Index) -> Array:
    """Pick along the last three axes; only the box that holds every index is touched. A copy."""
    lows = [int(i.min()) for i in indices]
    a, b, c = (slice(low, int(i.max()) + 1) for low, i in zip(lows, indices, strict=True))
    inside = np.ix_(*(i - low for low, i in zip(lows, indices, strict=True)))
    return array[..., a, b, c][..., inside[0], inside[1], inside[2]]


def _by_class(positions: npt.NDArray[np.int16], first: int) -> list[Array]:
    present = np.unique(positions[:, 0])
    wanted = present[present >= first] if (present >= first).any() else present
    return [positions[positions[:, 0] == c, 1:].astype(np.intp) for c in wanted]


def _stack_shape(xyz: tuple[int, ...], plane: Plane) -> list[int]:
    """Three numbers along X, Y, Z as (across slices, row, column)."""
    axis = PLANE_AXIS[plane]
    return [xyz[axis], *(n for i, n in enumerate(xyz) if i != axis)]
