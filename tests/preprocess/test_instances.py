"""Objects that touch: background between them, and U-Net's weight map of it, with the numbers worked out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.preprocess import instances
from medseg.preprocess.weightmap import weight_map
from tests.oracles import objects as oracle
from tests.oracles import weightmap as weight_oracle


def _two_squares() -> tuple[Array, Array]:
    """Label and numbers (6, 10, 1) of two 4×4 squares side by side, one pixel from the border."""
    numbers = np.zeros((6, 10, 1), np.uint16)
    numbers[1:5, 1:5], numbers[1:5, 5:9] = 1, 2
    return (numbers > 0).astype(np.uint8), numbers


def test_two_squares_that_touch_by_hand() -> None:
    label, numbers = _two_squares()
    target = instances.separated(label, numbers, "axial")
    assert target[2, :, 0].tolist() == [0, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert target[0].tolist() == [[0]] * 10
    without = weight_map(label, "axial", 10, 5)
    assert not without.any()  # one component: the map of before, without numbers
    weights = weight_map(target, "axial", 10, 5, numbers)[..., 0]
    # Row 2, column 4: one pixel from the left square's column 3, two from the right one's column 6:
    # 10·exp(−(1 + 2)² / (2·5²)) = 10·exp(−9/50) = 8.352702; the same at column 5.
    assert weights[2, 4:6] == pytest.approx([8.352702, 8.352702], rel=1e-3)
    # Row 0, column 4, above: √(1² + 1²) and √(1² + 2²) away: 10·exp(−(√2 + √5)² / 50) = 7.661
    assert weights[0, 4] == pytest.approx(10 * math.exp(-((math.sqrt(2) + math.sqrt(5)) ** 2) / 50), rel=1e-3)
    assert weights[0, 4] == pytest.approx(7.661, abs=5e-3)
    # Row 0, column 3: 1 from the left one, √(1² + 3²) from the right one: 10·exp(−(1 + √10)² / 50) = 7.072
    assert weights[0, 3] == pytest.approx(7.072, abs=5e-3)
    assert not weights[2, [1, 2, 3, 6, 7, 8]].any()


def test_corners_touch_and_void_stays() -> None:
    numbers = np.zeros((4, 4, 1), np.uint8)
    numbers[0:2, 0:2], numbers[2:4, 2:4] = 3, 7
    label = (numbers > 0).astype(np.uint8)
    label[1, 1] = 255
    target = instances.separated(label, numbers, "axial")[..., 0]
    assert target.tolist() == [[1, 1, 0, 0], [1, 255, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]]


def test_numbers_are_stored_small() -> None:
    assert instances.stored(np.array([[[0, 255]]], np.uint32)).dtype == np.uint8
    assert instances.stored(np.array([[[0, 256]]], np.uint32)).dtype == np.uint16
    assert instances.stored(np.zeros((1, 1, 1), np.uint16)).dtype == np.uint8


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    plane=st.sampled_from(tuple(PLANE_AXIS)),
    share=st.sampled_from([0.2, 0.6, 1.0]),
)
def test_border_and_weights_are_those_of_the_slow_oracles(
    seed: int, shape: tuple[int, int, int], plane: Plane, share: float
) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 5, (shape[0], 4, 4)).repeat(3, 1).repeat(3, 2)[:, : shape[1], : shape[2]]
    slices = np.where(rng.random(shape) < share, blocks, 0).astype(np.uint16)
    numbers = np.moveaxis(slices, 0, PLANE_AXIS[plane])
    target = instances.separated((numbers > 0).astype(np.uint8), numbers, plane)
    expected = [(n > 0) & ~oracle.touching(n) for n in slices]
    np.testing.assert_array_equal(np.moveaxis(target, PLANE_AXIS[plane], 0), expected)
    weights = np.moveaxis(weight_map(target, plane, 10, 2.0, numbers), PLANE_AXIS[plane], 0)
    by_cells = [weight_oracle.weights_of(n * left, 10, 2.0) for n, left in zip(slices, expected, strict=True)]
    np.testing.assert_allclose(weights.astype(np.float64), by_cells, rtol=1e-3, atol=1e-6)
