"""Pieces of slabs and label maps against numpy's indexing of single pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.grid import PLANE_AXIS, Array, Grid, Plane
from medseg.patches.field import mirrored_index, read_field, slice_piece
from medseg.patches.slabs import plane_view
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from tests.oracles.elastic import mirrored

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
PIECES = st.tuples(st.tuples(*[st.integers(-9, 9)] * 2), st.tuples(*[st.integers(1, 9)] * 2))


@settings(deadline=None)
@given(
    shape=SHAPES,
    piece=PIECES,
    plane=st.sampled_from(tuple(PLANE_AXIS)),
    depth=st.sampled_from([1, 3, 5]),
    where=st.floats(0, 0.999),
    order=st.sampled_from("CF"),
)
def test_pieces_are_those_of_single_pixels(
    shape: tuple[int, int, int],
    piece: tuple[tuple[int, int], tuple[int, int]],
    plane: Plane,
    depth: int,
    where: float,
    order: str,
) -> None:
    """Inside, beyond one side, beyond all sides; in either order of memory; bit for bit."""
    generator = np.random.default_rng(0)
    array = np.asarray(generator.integers(0, 900, (2, *shape)).astype(np.int16), order=order)  # type: ignore[call-overload]
    label = np.asarray(generator.integers(0, 4, shape).astype(np.uint8), order=order)  # type: ignore[call-overload]
    volume = NormalizedVolume(array, Grid(shape, np.eye(4)), Normalization((400.0, 3.0), (77.0, 5.0)))
    index, (first, size) = int(where * shape[PLANE_AXIS[plane]]), piece
    slab = np.empty((2 * depth, *size), np.float32)
    assert read_field(volume, plane, index, depth, first, size, slab) is slab
    np.testing.assert_array_equal(read_field(volume, plane, index, depth, first, size), slab)
    stack = np.moveaxis(array, PLANE_AXIS[plane] + 1, 1)
    rows, columns = ([mirrored(i, n) for i in range(a, a + s)] for a, s, n in _axes(first, size, stack))
    slices = [min(max(index + o, 0), stack.shape[1] - 1) for o in range(-(depth // 2), depth // 2 + 1)]
    expected = volume.normalise(stack[np.ix_([0, 1], slices, rows, columns)]).reshape(2 * depth, *size)
    np.testing.assert_array_equal(slab, expected)
    image = plane_view(label, plane)[index]
    cut = slice_piece(plane_view(label, plane), index, first, size)
    np.testing.assert_array_equal(cut, image[np.ix_(rows, columns)])


def _axes(first: tuple[int, int], size: tuple[int, int], stack: Array) -> list[tuple[int, int, int]]:
    return list(zip(first, size, stack.shape[2:], strict=True))


def test_indices_are_mirrored_to_and_fro() -> None:
    assert mirrored_index(-2, 9, 4).tolist() == [2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored_index(-2, 3, 1).tolist() == [0, 0, 0]
