"""Batches that are cut and scaled together against patches that are read one by one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from medseg.classes import VOID
from medseg.grid import Plane
from medseg.patches.cutting import PatchCutter
from medseg.patches.field import lies_inside, read_field, slice_piece
from medseg.patches.slabs import plane_view, slice_shape
from tests.patches.test_resident import FAR

PLACES: list[tuple[int, Plane, int]] = [
    (0, "axial", 0), (1, "coronal", 29), (2, "sagittal", 7), (3, "axial", 4), (3, "coronal", 8),
    (0, "axial", 8),
]  # fmt: skip
FIRSTS = [(2, 3), (-4, 0), (5, 9), (0, -2), (-30, 30), (12, 8)]


@pytest.mark.parametrize("outside", ["mirror", "void"])
@pytest.mark.parametrize("depth", [1, 3])
def test_equals_patches_that_are_read_one_by_one(outside: Literal["mirror", "void"], depth: int) -> None:
    """Inside and outside, of several types, those too that float32 would not hold; bit for bit."""
    size = (6, 7)
    cutter = PatchCutter(FAR, depth, ("weight_map",), outside)
    patches, labels, weights = cutter.cut(PLACES, FIRSTS, size)
    assert (patches.dtype, labels.dtype, weights.dtype) == (np.float32, np.uint8, np.float32)
    for n, ((number, plane, index), first) in enumerate(zip(PLACES, FIRSTS, strict=True)):
        case = FAR[number]
        assert case.label is not None
        np.testing.assert_array_equal(
            patches[n], read_field(case.volume, plane, index, depth, first, size), strict=True
        )
        label = slice_piece(plane_view(case.label, plane), index, first, size)
        inside = lies_inside(first, size, slice_shape(case.volume.grid.shape, plane))
        expected = np.where(inside, label, VOID) if outside == "void" else label
        np.testing.assert_array_equal(labels[n], expected)
        weight = slice_piece(plane_view(case.extras["weight_map"], plane), index, first, size)
        np.testing.assert_array_equal(weights[n], weight.astype(np.float32))
