"""Foreground rules, moments, lazy scaling and bias correction, on values a person can check."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.grid import Array, Grid
from medseg.preprocess import intensity
from medseg.preprocess.intensity import Foreground, Normalization, NormalizedVolume
from medseg.volume import Volume


def volume(array: Array) -> Volume:
    x, y, z = array.shape[1:]
    return Volume(array, Grid((x, y, z), np.eye(4)))


def row(*values: float, dtype: type = np.int16) -> Array:
    """Values along z of a channel (1, 1, Z)."""
    return np.array(values, dtype).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("values", "rule", "expected"),
    [
        ((0, 1, 2, 3, 4), "auto", [0, 1, 1, 1, 1]),  # the lowest fills exactly a fifth
        ((0, 1, 2, 3, 4, 5), "auto", [1, 1, 1, 1, 1, 1]),  # less than a fifth
        ((-3.5, -3.5, 0, 2, 9), "auto", [0, 0, 1, 1, 1]),  # z-scored scans have another background
        ((7, 7, 7), "auto", [0, 0, 0]),
        ((0, 1, 2), "all", [1, 1, 1]),
        ((0, 1, 2), 1.0, [0, 0, 1]),
        ((0, 1, 2), -0.5, [1, 1, 1]),
    ],
)
def test_foreground(values: tuple[float, ...], rule: Foreground, expected: list[int]) -> None:
    mask = intensity.foreground(row(*values, dtype=np.float32), rule)
    assert mask.dtype == np.bool_
    assert mask.ravel().astype(int).tolist() == expected


def test_a_threshold_below_zero_works_on_unsigned_values() -> None:
    assert intensity.foreground(row(0, 1, dtype=np.uint8), -1.0).all()


def test_box_is_the_union_of_the_channels() -> None:
    array = np.zeros((2, 6, 6, 6), np.float32)
    array[0, 1, 2, 3] = 1
    array[1, 4, 2, 1] = 1
    assert intensity.box(volume(array), "auto") == ((1, 5), (2, 3), (1, 4))


@pytest.mark.parametrize("rule", ["auto", "all", 100.0])
def test_box_without_or_with_only_foreground_is_everything(rule: Foreground) -> None:
    array = np.full((1, 3, 4, 5), 7, np.uint8)
    assert intensity.box(volume(array), rule) == ((0, 3), (0, 4), (0, 5))


def test_zscore_over_the_foreground_of_each_channel() -> None:
    # foreground 2 4 6: mean 4, deviation sqrt(8/3); the other channel is constant where it is not 0
    array = np.concatenate([row(0, 2, 4, 6)[None], row(0, 5, 5, 5)[None]])
    normalization = intensity.measure(volume(array), "auto", "zscore")
    assert normalization.mean == (4, 5)
    assert normalization.std == (math.sqrt(8 / 3), 1)
    assert intensity.measure(volume(array), "auto", "none") == Normalization((0, 0), (1, 1))


def test_no_foreground_is_left_as_it_is() -> None:
    assert intensity.measure(volume(row(7, 7)[None]), "auto", "zscore") == Normalization((0,), (1,))


def test_moments_keep_their_digits_far_from_zero_and_in_any_memory_order() -> None:
    array = np.random.default_rng(0).normal(1e6, 1, (1, 20, 30, 40)).astype(np.float64)
    normalization = intensity.measure(volume(array), "all", "zscore")
    assert normalization.std[0] == pytest.approx(array.std(), rel=1e-12)
    assert intensity.measure(volume(np.asfortranarray(array)), "all", "zscore") == normalization


def test_ready_scales_a_piece_and_leaves_the_array() -> None:
    array = np.array([[2, 4], [10, 30]], np.int16).reshape(2, 2, 1, 1)
    ready = NormalizedVolume(array, Grid((2, 1, 1), np.eye(4)), Normalization((2, 10), (1, 20)))
    scaled = ready.normalise(array)
    assert scaled.dtype == np.float32
    assert scaled.ravel().tolist() == [0, 2, 0, 1]
    assert array.ravel().tolist() == [2, 4, 10, 30]
    floats = array.astype(np.float32)
    ready.normalise(floats)
    assert floats.ravel().tolist() == [2, 4, 10, 30]


def test_ready_must_fit_its_grid_and_scaling() -> None:
    grid = Grid((2, 2, 2), np.eye(4))
    with pytest.raises(ValueError, match="not"):
        NormalizedVolume(np.zeros((1, 2, 2, 3)), grid, Normalization((0,), (1,)))
    with pytest.raises(ValueError, match="2 channels"):
        NormalizedVolume(np.zeros((2, 2, 2, 2)), grid, Normalization((0,), (1,)))


def test_bias_correction_flattens_a_smooth_field() -> None:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij")
    brain = x**2 + y**2 + z**2 < 0.8
    tissue = np.where(x * y > 0, 100.0, 160.0) * brain
    biased = (tissue * np.exp(0.4 * x)).astype(np.float32)[None]
    corrected = intensity.correct_bias(volume(biased))
    assert corrected.array.dtype == np.float32
    assert corrected.grid.shape == (32, 32, 32)
    inside = brain & (x * y > 0)

    def spread(a: Array) -> float:
        return float(a[0][inside].std() / a[0][inside].mean())

    assert spread(corrected.array) < 0.5 * spread(biased)
    assert np.array_equal(intensity.correct_bias(volume(biased)).array, corrected.array)


def test_bias_correction_without_foreground_changes_nothing() -> None:
    array = np.full((1, 4, 4, 4), 7, np.int16)
    assert np.array_equal(intensity.correct_bias(volume(array)).array, array)
