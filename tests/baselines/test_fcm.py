"""Fuzzy c-means: values one can check by hand, a slow oracle, and the refusing branch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.baselines import fcm
from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from tests.oracles import fcm as oracle

voxel_lists = st.lists(st.integers(0, 60), min_size=3, max_size=25).filter(lambda v: len(set(v)) >= 3)


def ready(array: Any) -> NormalizedVolume:
    """One channel (X, Y, Z) as the networks would see it."""
    grid = Grid(array.shape, np.eye(4))
    return NormalizedVolume(array[np.newaxis], grid, Normalization((0.0,), (1.0,)))


def test_memberships_by_hand() -> None:
    # value 1 between centres 0 and 3: distances 1 and 2, m = 2: 1/(1 + 1/4) and 1/(1 + 4)
    u = fcm.memberships(np.array([1.0, 3.0]), np.array([0.0, 3.0]))
    np.testing.assert_allclose(u, [[0.8, 0.2], [0, 1]])


def test_a_value_between_equal_centres_is_shared() -> None:
    u = fcm.memberships(np.array([2.0]), np.array([2.0, 2.0, 5.0]))
    np.testing.assert_allclose(u, [[0.5, 0.5, 0]])


def test_memberships_do_not_overflow_near_a_centre() -> None:
    u = fcm.memberships(np.array([1e-200]), np.array([0.0, 1.0]), fuzziness=1.2)
    np.testing.assert_allclose(u, [[1, 0]])


@given(voxels=voxel_lists, m=st.sampled_from([1.5, 2.0, 3.0]))
@settings(max_examples=25, deadline=None)
def test_equals_the_oracle(voxels: list[int], m: float) -> None:
    values, counts = np.unique(voxels, return_counts=True)
    start = fcm._start(values.astype(float), counts, 3)
    got = fcm.fit(values.astype(float), counts, 3, m, iterations=8)
    np.testing.assert_allclose(got, sorted(oracle.fit(voxels, start, m, turns=8)), rtol=1e-4, atol=1e-4)


@given(voxels=voxel_lists)
@settings(max_examples=25, deadline=None)
def test_turns_never_raise_the_cost(voxels: list[int]) -> None:
    values, counts = np.unique(voxels, return_counts=True)
    costs = [
        oracle.cost(voxels, fcm.fit(values.astype(float), counts, 2, 2.0, iterations=n), 2.0)
        for n in range(5)
    ]
    assert all(b <= a * (1 + 1e-9) + 1e-9 for a, b in pairwise(costs))


def three_slabs() -> tuple[Any, Any]:
    """Background 0 at x = 0, 1, then values around 100, 200, 300 in pairs of planes; and the true indices."""
    truth = np.repeat(np.arange(4, dtype=np.uint8), 2)[:, None, None] * np.ones((1, 5, 4), dtype=np.uint8)
    spread = np.random.default_rng(0).integers(-9, 10, truth.shape)
    return np.where(truth > 0, 100 * truth.astype(int) + spread, 0).astype(np.int16), truth


def test_clusters_get_the_classes_from_dark_to_bright() -> None:
    array, truth = three_slabs()
    result = fcm.label(ready(array), (1, 2, 3))
    np.testing.assert_array_equal(result.labels, truth)
    assert result.labels.dtype == np.uint8
    turned = fcm.label(ready(array), (3, 1, 2))
    np.testing.assert_array_equal(turned.labels, np.array([0, 3, 1, 2])[truth])


def test_margin_and_quality() -> None:
    array, truth = three_slabs()
    result = fcm.label(ready(array))
    assert result.confidence.dtype == np.float16
    assert (result.confidence[truth == 0] == 1).all()
    inside = result.confidence[truth > 0].astype(float)
    assert ((inside > 0.8) & (inside <= 1)).all()
    assert result.quality == pytest.approx(inside.mean(), abs=1e-3)
    assert result.quality_kind == "membership"


def test_the_foreground_rule_is_obeyed() -> None:
    array, truth = three_slabs()
    result = fcm.label(ready(array), (1, 2), rule=150.0)
    np.testing.assert_array_equal(result.labels, np.array([0, 0, 1, 2])[truth])


def test_many_float_values_are_rounded_to_levels() -> None:
    array, truth = three_slabs()
    fine = np.tile(array, (1, 30, 4)).astype(np.float32)
    fine += np.where(fine > 0, np.random.default_rng(2).uniform(0, 0.9, fine.shape), 0).astype(np.float32)
    voxels = fine[fine > 0]
    values, inverse, counts = fcm._levels(voxels)
    assert len(np.unique(voxels)) > fcm.LEVELS >= len(values) == len(counts)
    assert np.abs(values[inverse] - voxels).max() <= np.ptp(voxels) / fcm.LEVELS
    np.testing.assert_array_equal(fcm.label(ready(fine)).labels, np.tile(truth, (1, 30, 4)))


def test_scaling_of_grey_values_changes_nothing() -> None:
    array, _ = three_slabs()
    first = fcm.label(ready(array))
    second = fcm.label(ready(np.where(array > 0, array.astype(np.float32) * 7 + 30, 0)))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_allclose(first.confidence, second.confidence, atol=2e-3)


def test_start_falls_back_to_distinct_values() -> None:
    values, counts = np.array([0.0, 1, 2]), np.array([1000, 1, 1])
    np.testing.assert_allclose(fcm._start(values, counts, 3), [1 / 3, 1, 5 / 3])
    assert len(np.unique(fcm.fit(values, counts, 3))) == 3


def test_one_class_is_the_whole_foreground() -> None:
    array, truth = three_slabs()
    result = fcm.label(ready(array), (2,))
    np.testing.assert_array_equal(result.labels, np.where(truth > 0, 2, 0))
    assert result.quality == 1


def test_fewer_values_than_classes_is_refused() -> None:
    array = np.zeros((4, 4, 4), dtype=np.int16)
    array[0] = 5
    array[1] = 6
    with pytest.raises(MedsegError, match="2 distinct grey values for 3 classes") as refusal:
        fcm.label(ready(array))
    assert refusal.value.code is Code.CONSTANT


def test_mean_greys_of_classes_by_hand() -> None:
    array = np.array([[[10, 20], [30, 99]]], np.int16).reshape(2, 2, 1)
    label = np.array([[[1, 1], [2, 255]]], np.uint8).reshape(2, 2, 1)
    given = NormalizedVolume(array[None], Grid((2, 2, 1), np.eye(4)), Normalization((5.0,), (10.0,)))
    np.testing.assert_allclose(fcm.class_greys(given, label, 4), [np.nan, 1.0, 2.5, np.nan])
