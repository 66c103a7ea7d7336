"""Facts of files against plain numpy over the whole array, and checksums that see voxels alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg.grid import Grid
from medseg.ingest import file_facts
from medseg.ingest.file_facts import measure, measure_label, value_counts
from medseg.volume import Volume
from tests.oracles.facts import facts as slow_facts

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def volume(array: Any, unit: Any = "mm") -> Volume:
    array = np.asarray(array)
    array = array[None] if array.ndim == 3 else array
    return Volume(array, Grid(array.shape[1:], AFFINE if unit == "mm" else np.eye(4), unit))


def checksum(array: Any) -> Any:
    return measure(volume(array))[0].checksum


SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)


@given(arrays(np.int16, SHAPES), st.integers(1, 40))
def test_slabs_change_nothing(array: Any, slab: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_facts, "_SLAB_VOXELS", slab)
        measured = measure(volume(array))[0]
        counts = value_counts(array)
    low, high, dark, median, bright, expected = slow_facts(array)
    assert (measured.low, measured.high) == (low, high)
    assert (measured.dark, measured.median, measured.bright) == (dark, median, bright)
    assert counts == expected or (counts is None and high - low >= file_facts.MOST_VALUES)
    assert measured.checksum == checksum(array)


@given(arrays(np.int16, SHAPES), st.sampled_from(["int32", "int64", "float32", "float64", ">i2"]))
def test_a_checksum_does_not_depend_on_the_dtype(array: Any, dtype: str) -> None:
    assert checksum(array.astype(dtype)) == checksum(array)
    assert checksum(np.asfortranarray(array)) == checksum(array)


@given(arrays(np.int16, (3, 4, 2)), arrays(np.int16, (3, 4, 2)))
def test_other_voxels_have_another_checksum(one: Any, other: Any) -> None:
    assume(one.min() < one.max() and other.min() < other.max())
    assert (checksum(one) == checksum(other)) == bool((one == other).all())


def test_constant_volumes_are_no_duplicates() -> None:
    assert checksum(np.zeros((2, 2, 2))) is None


def test_fractions_and_their_single_precision_copy_are_equal_if_nothing_was_rounded() -> None:
    halves = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 2
    assert checksum(halves) == checksum(halves.astype(np.float32))
    thirds = halves / 3
    assert checksum(thirds) != checksum(thirds.astype(np.float32))


def test_a_moved_voxel_or_another_shape_is_another_volume() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert checksum(array) != checksum(array[::-1])
    assert checksum(array) != checksum(array.reshape(2, 4, 3))


def test_values_that_are_not_finite_are_left_out() -> None:
    array = np.array([[[1.5, np.nan], [np.inf, 4.0]]])
    measured = measure(volume(array))[0]
    assert (measured.low, measured.high) == (1.5, 4.0)
    assert measure(volume(np.full((2, 2, 2), np.nan)))[0].high == 0.0
    assert value_counts(array) is None


def test_values_of_a_label_map() -> None:
    array = np.array([[[0.0, 1.0002], [2.0, 2.0]]], np.float32)
    assert measure_label(volume(array)).counts == {0: 1, 1: 1, 2: 2}
    assert measure_label(volume(array + 0.5)).counts is None
    assert value_counts(np.array([[[0, 2**16]]])) is None
    assert value_counts(np.array([[[-3, 7]]])) == {-3: 1, 7: 1}


def test_channels_are_measured_one_by_one_and_colours_together() -> None:
    array = np.stack([np.zeros((4, 4, 1), np.uint8), np.full((4, 4, 1), 200, np.uint8)])
    assert [facts.median for facts in measure(volume(array))] == [0.0, 200.0]
    colours = measure(volume(array, "px"))
    assert len(colours) == 1 and (colours[0].low, colours[0].high, colours[0].axes) == (0.0, 200.0, "")
    assert colours[0].extent == 16.0


def test_sizes_and_axes() -> None:
    facts = measure(volume(np.arange(24).reshape(2, 3, 4)))[0]
    assert facts.axes == "RAS"
    assert facts.extent == pytest.approx(24 * 6 / 1000)


def test_a_large_volume_is_sampled(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(50, 5, (64, 64, 40)).astype(np.float32)
    array[:20] = 0
    facts = measure(volume(np.asfortranarray(array)))[0]
    inside = array[array > 0]
    assert facts.median == pytest.approx(np.median(inside), rel=0.01)
    assert facts.bright == pytest.approx(np.percentile(inside, 99), rel=0.02)
