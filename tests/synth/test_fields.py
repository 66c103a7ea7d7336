"""Smooth fields and deformations: partition of unity, spread, Jacobians by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.synth import fields


def test_spline_weights_by_hand() -> None:
    # at a control point 1/6, 4/6, 1/6, 0; halfway 1/48, 23/48, 23/48, 1/48
    weights = fields.spline_weights(3, 2.0)
    np.testing.assert_allclose(weights[0], [1 / 6, 4 / 6, 1 / 6, 0, 0], atol=1e-7)
    np.testing.assert_allclose(weights[1], [1 / 48, 23 / 48, 23 / 48, 1 / 48, 0], atol=1e-7)
    np.testing.assert_allclose(weights[2], [0, 1 / 6, 4 / 6, 1 / 6, 0], atol=1e-7)


@pytest.mark.parametrize(("size", "step"), [(1, 3.0), (7, 2.5), (40, 13.3), (5, 50.0)])
def test_spline_weights_sum_to_one(size: int, step: float) -> None:
    np.testing.assert_allclose(fields.spline_weights(size, step).sum(axis=1), 1, rtol=1e-6)


def test_smooth_field_has_the_axes_and_the_spread_asked_for() -> None:
    field = fields.smooth_field((90, 60, 75), 1.0, 6.0, 2.5, np.random.default_rng(0))
    assert field.shape == (90, 60, 75)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(2.5, rel=0.1)
    for axis in range(3):
        assert np.abs(np.diff(field, axis=axis)).max() < 2.5 * 1.5


def test_smooth_field_is_smooth_along_the_axis_of_its_nodes() -> None:
    # One control-point distance spans the whole first axis only if weights are matched to their axes.
    field = fields.smooth_field((4, 64, 8), 1.0, 16.0, 1.0, np.random.default_rng(3))
    assert np.ptp(field, axis=1).mean() > 3 * np.ptp(field, axis=0).mean()


def test_no_rotation_and_scale_is_the_identity() -> None:
    np.testing.assert_allclose(fields.random_matrix(np.random.default_rng(0), 0, 0), np.eye(3))


def test_random_matrix_has_the_volume_of_its_scalings() -> None:
    matrix = fields.random_matrix(np.random.default_rng(0), 30, 0)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.abs(matrix - np.eye(3)).max() > 0.05


def test_positions_turn_about_the_centre() -> None:
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    where = fields.positions((3, 3, 1), quarter, np.zeros((3, 3, 3, 1), dtype=np.float32))
    np.testing.assert_allclose(where[:, 1, 1, 0], [1, 1, 0])  # the centre stays
    np.testing.assert_allclose(where[:, 2, 1, 0], [1, 2, 0])  # +x is read at +y


def test_jacobian_of_a_linear_map_is_its_determinant() -> None:
    matrix = np.array([[1.1, 0.2, 0], [0, 0.9, 0.1], [0.05, 0, 1.2]])
    where = fields.positions((5, 6, 7), matrix, np.zeros((3, 5, 6, 7), dtype=np.float32))
    np.testing.assert_allclose(fields.jacobian(where), np.linalg.det(matrix), rtol=1e-4)


def test_a_folding_displacement_is_shrunk_until_it_does_not_fold() -> None:
    shape = (12, 12, 12)
    rng = np.random.default_rng(0)
    wild = np.stack([fields.smooth_field(shape, 1.0, 4.0, 6.0, rng) for _ in range(3)])
    assert fields.jacobian(fields.positions(shape, np.eye(3), wild)).min() < 0
    where = fields.unfolded(shape, np.eye(3), wild)
    assert fields.jacobian(where).min() >= fields.LEAST_JACOBIAN
    assert np.abs(where - fields.positions(shape, np.eye(3), 0 * wild)).max() > 0.5


def test_a_gentle_displacement_is_left_alone() -> None:
    gentle = np.full((3, 6, 6, 6), 0.25, dtype=np.float32)
    np.testing.assert_array_equal(
        fields.unfolded((6, 6, 6), np.eye(3), gentle), fields.positions((6, 6, 6), np.eye(3), gentle)
    )
