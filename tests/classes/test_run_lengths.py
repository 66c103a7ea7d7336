"""Label maps as runs: the same values and counts as numpy's, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg import run_lengths
from medseg.classes import ClassList
from medseg.grid import Array
from medseg.run_lengths import RunLengths, count_values

DTYPES = (np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64)


@st.composite
def label_maps(draw: st.DrawFn, dtypes: tuple[type, ...] = DTYPES) -> Array:
    """Arrays (X, Y, Z) of few values in any layout: either order, views with gaps, axes turned round."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=6))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    array = draw(hnp.arrays(dtype, shape, elements=st.integers(0, 3)))
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    array = array.transpose(draw(st.permutations(range(3))))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1])] * 3))
    return array[tuple(slice(None, None, step) for step in steps)]


@settings(deadline=None)
@given(label_maps())
def test_runs_give_the_array_again(array: Array) -> None:
    runs = RunLengths.of(array)
    again = runs.replaced(runs.values)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    assert runs.lengths.sum() == array.size
    assert (runs.values[1:] != runs.values[:-1]).all()


@settings(deadline=None)
@given(array=label_maps(), chunk=st.integers(1, 50))
def test_counts_equal_numpys_wherever_chunks_end(array: Array, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lengths, "_CHUNK", chunk)
        values, counts = count_values(array)
    expected, expected_counts = np.unique(array, return_counts=True)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(counts, expected_counts)
    assert values.dtype == expected.dtype


@settings(deadline=None)
@given(label_maps(DTYPES[:5]))
def test_values_become_indices_voxel_by_voxel(array: Array) -> None:
    classes = ClassList.from_json(
        [{"value": v, "name": n, "colour": (v, v, v)} for v, n in ((0, "background"), (2, "a"), (1, "b"))],
        (3,),
    )
    index = {0: 0, 2: 1, 1: 2, 3: 255}
    expected = [index[int(value)] for value in array.ravel()]
    indices = classes.to_indices(array, "here")
    assert indices.dtype == np.uint8
    assert indices.ravel().tolist() == expected


def test_a_hand_made_row() -> None:
    runs = RunLengths.of(np.array([[5, 5, 0], [0, 0, 7]]))
    assert runs.values.tolist() == [5, 0, 7]
    assert runs.lengths.tolist() == [2, 3, 1]
    assert runs.replaced(np.array([1, 0, 2])).tolist() == [[1, 1, 0], [0, 0, 2]]
