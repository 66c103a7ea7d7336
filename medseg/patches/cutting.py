"""Patches of a batch, cut from their cases' arrays.

As little as possible is done patch by patch: each is copied once, as it lies in its array, and all are scaled
together. Numpy gives Python's lock away in each call on a few hundred numbers or more, and two threads that
cut at once spend their time on handing it to each other (measured: half the rate of one). So one thread cuts
at a time; others lay out and change their batches meanwhile, in torch's longer calls.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.classes import VOID
from medseg.grid import Array, Plane
from medseg.patches.field import lies_inside, slab_piece, slice_piece, stack_view
from medseg.patches.slabs import plane_view, slice_shape
from medseg.preprocess.store import PreprocessedCase

Pair = tuple[int, int]
Floats = npt.NDArray[np.float32]

_CUTTING = threading.Lock()


def label_map(case: PreprocessedCase) -> Array:
    """Give a case's label map (X, Y, Z); where it has none, zeros that take no memory."""
    if case.label is None:
        return np.broadcast_to(np.uint8(0), case.volume.grid.shape)
    return case.label


class PatchCutter:
    """Cuts patches, labels and ``extras`` of cases; ``depth`` is the slab's number of slices.

    Where a case has no labels they are zeros. Labels outside a slice are void with ``outside`` void.
    """

    def __init__(
        self,
        cases: Sequence[PreprocessedCase],
        depth: int,
        extras: Sequence[str] = (),
        outside: Literal["mirror", "void"] = "mirror",
    ) -> None:
        self._cases, self._depth, self._extras, self._outside = cases, depth, extras, outside
        self._views = lru_cache(None)(self._make_views)

    def cut(
        self, places: Sequence[tuple[int, Plane, int]], firsts: Sequence[Pair], size: Pair
    ) -> tuple[Array, ...]:
        """Cut patches whose places are (case, plane, slice), from these first rows and columns on.

        Gives scaled patches (B, C·D, h', w') float32, labels (B, h', w') in their dtype, and each of the
        extra arrays (B, h', w') float32.
        """
        with _CUTTING:
            return self._cut(places, firsts, size)

    def _cut(
        self, places: Sequence[tuple[int, Plane, int]], firsts: Sequence[Pair], size: Pair
    ) -> tuple[Array, ...]:
        count, first_case = len(places), self._cases[0]
        channels = len(first_case.volume.array)
        patches = np.empty((count, channels, self._depth, *size), np.float32)
        labels = np.empty((count, *size), np.uint8 if first_case.label is None else first_case.label.dtype)
        extras = [np.empty((count, *size), np.float32) for _ in self._extras]
        mean_std = np.zeros((2, count, channels), np.float32)
        mean_std[1] = 1
        for n, ((case, plane, index), first) in enumerate(zip(places, firsts, strict=True)):
            volume = self._cases[case].volume
            stack, label, *more = self._views(case, plane)
            piece = slab_piece(stack, index, self._depth, first, size)
            if volume.fits_float32 and not volume.normalization.low:  # a mean and a deviation are all
                patches[n] = piece
                mean_std[:, n] = volume.mean_std
            else:
                volume.normalise(piece, patches[n])
            labels[n] = slice_piece(label, index, first, size)
            if self._outside == "void":
                inside = lies_inside(first, size, slice_shape(volume.grid.shape, plane))
                labels[n][~inside] = VOID
            for extra, view in zip(extras, more, strict=True):
                extra[n] = slice_piece(view, index, first, size)
        mean, std = mean_std[..., None, None, None]
        patches -= mean
        patches /= std
        return (patches.reshape(count, -1, *size), labels, *extras)

    def _make_views(self, number: int, plane: Plane) -> tuple[Array, ...]:
        """View a case's image as (C, slices, H, W), its label map and extra arrays as (slices, H, W)."""
        case = self._cases[number]
        maps = (label_map(case), *(case.extras[name] for name in self._extras))
        return (stack_view(case.volume.array, plane), *(plane_view(np.asarray(m), plane) for m in maps))
