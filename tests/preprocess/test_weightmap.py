"""U-Net's weight map: its worked numbers, and a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.preprocess.weightmap import between, weight_map
from tests.oracles import weightmap as oracle


@pytest.mark.parametrize(
    ("d1", "d2", "expected"), [(0, 0, 10.0), (1, 1, 9.231163), (3, 4, 3.753111), (5, 5, 1.353353)]
)
def test_worked_numbers(d1: int, d2: int, expected: float) -> None:
    assert float(between(np.array(d1 + d2), 10, 5)) == pytest.approx(expected, abs=1e-6)


def _in_a_row(values: list[int]) -> Array:
    label = np.array(values, np.uint8).reshape(-1, 1, 1)
    return weight_map(label, "axial", 10, 5)[:, 0, 0]


def test_a_row_by_hand() -> None:
    found = _in_a_row([1, 1, 0, 0, 0, 2, 2])
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, [0, 0, 7.261490, 7.261490, 7.261490, 0, 0], rtol=1e-3)


def test_one_cell_or_none_weighs_nothing_and_void_is_neither_cell_nor_background() -> None:
    assert not _in_a_row([0, 1, 2, 1, 0]).any()  # classes that touch are one cell
    assert not _in_a_row([0, 0, 0]).any()
    assert not _in_a_row([1, 0, 255]).any()
    assert _in_a_row([1, 0, 255, 0, 2])[[0, 2, 4]].tolist() == [0, 0, 0]
    assert _in_a_row([1, 0, 255, 0, 2])[1] == np.float16(between(np.array(4.0), 10, 5))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    plane=st.sampled_from(tuple(PLANE_AXIS)),
    share=st.sampled_from([0.02, 0.1, 0.4]),
    sigma_px=st.sampled_from([0.3, 1.0, 5.0]),
)
def test_equal_to_the_slow_oracle(
    seed: int, shape: tuple[int, int, int], plane: Plane, share: float, sigma_px: float
) -> None:
    rng = np.random.default_rng(seed)
    slices = np.where(rng.random(shape) < share, rng.choice([1, 2, 255], shape), 0).astype(np.uint8)
    found = weight_map(np.moveaxis(slices, 0, PLANE_AXIS[plane]), plane, 10, sigma_px)
    expected = np.stack([oracle.weights(label, 10, sigma_px) for label in slices])
    np.testing.assert_allclose(
        np.moveaxis(found, PLANE_AXIS[plane], 0).astype(np.float64), expected, rtol=1e-3, atol=1e-6
    )
