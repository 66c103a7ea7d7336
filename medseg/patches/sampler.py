"""Training patches drawn by (seed, t): batch t is the same whatever was drawn before it.

A patch comes from a case drawn uniformly; by the order ``shuffled``, from the next case of a permutation
drawn by (seed, epoch), the last batch of an epoch being filled up with the epoch's first cases again. With
probability ``foreground_oversampling`` a class is drawn uniformly among that case's foreground classes (the
background where there is no other), then one of its known voxels, and the window is placed so that this voxel
is equally likely to be any of its pixels; otherwise slice and place are uniform. A window that would reach
beyond the slice is moved inside, which keeps the voxel in it. A slice smaller than the window is mirrored at
its end, as in prediction. With several planes, one is drawn uniformly for each patch.

Augmentation by rotation or scale needs pixels from around the window: ``field`` is what is cut, centred on
the window, and mirrored where it leaves the slice. Elastic deformation needs other pixels for each patch:
``boxes`` says which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Plane, planes_of
from medseg.patches.cutting import PatchCutter
from medseg.patches.slabs import pixel_shape, slice_axes, slice_shape, slices
from medseg.preprocess.store import PreprocessedCase

Pair = tuple[int, int]
Index = npt.NDArray[np.intp]
Places = npt.NDArray[np.float32]

Boxes = Callable[[int, Places, str | torch.device], tuple[Index, Pair]]

EVERY = slice(None)

_STREAM = 3  # keeps permutations apart from the places of batches and from other streams
_CASES_OPEN = 256  # whose voxel positions stay mapped: each takes an open file


class PatchLocation(NamedTuple):
    """Place of a patch: case, slice of a plane, the window's first row and column, negative outside."""

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

    ``extras`` names arrays of the cases that are cut beside the labels. ``boxes`` gives, for batch t and the
    first four rows of its placement (see :meth:`__call__`), the first row and column of each patch's field
    (B, 2) and one size (h', w') for all, computed on a device. With ``boxes``, or ``placed``, batches end
    with their placement. Unless it ``needs_labels``, cases may have none: their labels are zeros.
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
    boxes: Boxes | None = None
    border: int = 0
    background: bool = True
    order: Literal["random", "shuffled"] = "random"
    outside: Literal["mirror", "void"] = "mirror"
    placed: bool = False
    needs_labels: bool = True

    def __post_init__(self) -> None:
        if not self.cases:
            raise MedsegError(
                Code.NOTHING_USABLE, "training", "no case to draw from", "give labelled training cases"
            )
        without = [case.name for case in self.cases if case.label is None]
        if without and self.needs_labels:
            raise ValueError(f"cases without labels cannot be drawn from: {', '.join(without)}")
        if self.depth % 2 == 0:
            raise ValueError(f"a slab has an odd number of slices, got {self.depth}")
        lacking = [case.name for case in self.cases if set(self.extras) - case.extras.keys()]
        if lacking:
            raise ValueError(f"cases without all of {self.extras}: {', '.join(lacking)}")
        if any(f < w or (f - w) % 2 for f, w in zip(self._field, self.window, strict=True)):
            raise ValueError(f"field {self._field} must exceed window {self.window} by even numbers")

    def __call__(self, t: int, rows: slice = EVERY) -> tuple[Array, ...]:
        """Read batch ``t``: scaled patches (B, C·D, h', w') float32, labels (B, h', w') uint8 with void 255.

        Then each of ``extras``, (B, h', w') float32. Then, where it is asked for, the placement (B, 5, 2)
        float32, each row a value along rows and one along columns: the window's first pixel in the slice, the
        slice's size, the axes of (X, Y, Z) that they run along, the sides of a pixel in units of the shorter
        one, the field's first pixel. With ``rows`` only those of the batch are read, for a process that
        trains on its share of it.
        """
        places, placement, size = self.lay_out(t, rows)
        firsts = [(row, column) for row, column in placement[:, -1].astype(np.intp).tolist()]
        batch = self._cutter.cut([(p.case, p.plane, p.slice) for p in places], firsts, size)
        return (*batch, placement) if self.gives_placement else batch

    @property
    def gives_placement(self) -> bool:
        """True where batches end with their placement."""
        return self.placed or self.boxes is not None

    def lay_out(
        self, t: int, rows: slice = EVERY, device: str | torch.device = "cpu"
    ) -> tuple[list[PatchLocation], Places, Pair]:
        """Places of batch ``t``, or of its ``rows``, their placement, and the size (h', w') of all fields.

        What is computed of every pixel is computed on ``device``. Raises KEYWORD_INVALID for a batch that
        cannot be shared so.
        """
        if self.batch % (rows.step or 1):
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "train.batch",
                f"{self.batch} patches for {rows.step} processes",
                "make the batch a multiple of the processes",
            )
        places = self.places(t)
        placement, size = self._placement(t, places, device)
        return places[rows], placement[rows], size

    def places(self, t: int) -> list[PatchLocation]:
        """Draw the places of batch ``t``."""
        generator = np.random.default_rng((self.seed, t))
        if self.order == "random":
            return [
                self._place(int(generator.integers(len(self.cases))), generator) for _ in range(self.batch)
            ]
        return [self._place(case, generator) for case in self._shuffled_cases(t)]

    @property
    def steps_shuffled(self) -> int:
        """Number of batches in which every case is used once."""
        return -(-len(self.cases) // self.batch)

    def _shuffled_cases(self, t: int) -> list[int]:
        """List the cases of batch ``t`` where each is used once an epoch."""
        epoch, step = divmod(t, self.steps_shuffled)
        order = np.random.default_rng((self.seed, epoch, _STREAM)).permutation(len(self.cases))
        places = np.arange(step * self.batch, (step + 1) * self.batch) % len(self.cases)
        return [int(case) for case in order[places]]

    @property
    def _field(self) -> Pair:
        return self.field or self.window

    @cached_property
    def _inner(self) -> Index:
        """Size of what is placed in the slice: the window without its border."""
        return np.subtract(self.window, 2 * self.border)

    @cached_property
    def _planes(self) -> tuple[Plane, ...]:
        return planes_of(self.plane)

    @cached_property
    def _cutter(self) -> PatchCutter:
        return PatchCutter(self.cases, self.depth, self.extras, self.outside)

    @cached_property
    def _voxels(self) -> Callable[[int], list[Array]]:
        """For a case, views (N, 3) of the known voxels of each class that is drawn; nothing is copied."""

        @lru_cache(_CASES_OPEN)
        def voxels(case: int) -> list[Array]:
            return _by_class(np.asarray(self.cases[case].positions), int(self.background))

        return voxels

    def _place(self, case: int, generator: np.random.Generator) -> PatchLocation:
        plane = self._planes[0]
        if len(self._planes) > 1:  # one plane alone takes no number from the generator
            plane = self._planes[int(generator.integers(len(self._planes)))]
        shape = self.cases[case].volume.grid.shape
        inner = self._inner
        last = [max(0, n - w) for n, w in zip(slice_shape(shape, plane), inner.tolist(), strict=True)]
        by_class = generator.random() < self.foreground_oversampling
        if by_class and (classes := self._voxels(case)):
            of_class = classes[generator.integers(len(classes))]
            voxel = of_class[generator.integers(len(of_class))].tolist()
            index = voxel[PLANE_AXIS[plane]]
            offsets = zip(slice_axes(plane), generator.integers(inner).tolist(), last, strict=True)
            row, column = (min(max(voxel[axis] - offset, 0), end) for axis, offset, end in offsets)
        else:
            index = int(generator.integers(slices(shape, plane)))
            row, column = generator.integers(np.add(last, 1)).tolist()
        return PatchLocation(case, index, row - self.border, column - self.border, plane)

    def _placement(
        self, t: int, places: list[PatchLocation], device: str | torch.device
    ) -> tuple[Places, Pair]:
        """Placement of each patch as :meth:`__call__` gives it, and the fields' size."""
        grids = [(self.cases[place.case].volume.grid, place.plane) for place in places]
        windows = np.array(
            [
                [(place.row, place.column) for place in places],
                [slice_shape(grid.shape, plane) for grid, plane in grids],
                [slice_axes(plane) for _, plane in grids],
                [pixel_shape(grid, plane) for grid, plane in grids],
            ],
            np.float32,
        ).swapaxes(0, 1)
        if self.boxes is None:
            first, size = windows[:, 0] - np.subtract(self._field, self.window) // 2, self._field
        else:
            first, size = self.boxes(t, windows, device)
        return np.concatenate([windows, first[:, None].astype(np.float32)], axis=1), size


def _by_class(positions: Array, first: int) -> list[Array]:
    """Group positions (N, 4), in ascending order of class, as views (n, 3) of the classes from ``first`` on.

    Where there is none of them, of all classes. Classes are found by bisection: few rows are read.
    """
    groups, start = {}, 0
    while start < len(positions):
        index = int(positions[start, 0])
        stop = bisect_right(range(len(positions)), index, lo=start, key=lambda row: int(positions[row, 0]))
        groups[index] = positions[start:stop, 1:]
        start = stop
    return [group for index, group in groups.items() if index >= first] or list(groups.values())
