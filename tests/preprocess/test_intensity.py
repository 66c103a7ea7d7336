"""Foreground rules, moments, lazy scaling and bias correction, on values a person can check."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.preprocess import geometry, intensity
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


def scan(seed: int = 0) -> Array:
    """Grey values 0 to 1000 as a scanner stores them, a third of them background."""
    values = np.random.default_rng(seed).integers(1, 1000, (1, 8, 9, 10))
    return np.where(np.arange(10) < 4, 0, values)


def normalised(array: Array, rule: Foreground = "auto") -> Array:
    ready = volume(array)
    prepared = NormalizedVolume(ready.array, ready.grid, intensity.measure(ready, rule, "zscore"))
    return prepared.normalise(array)


@pytest.mark.parametrize(
    ("dtype", "offset"),
    [
        *((np.float64, 1e10), (np.float64, -1e12), (np.int64, 2**40), (np.int32, 2**30), (np.uint32, 2**31)),
        *((np.uint64, 2**50), (np.float32, 2**14)),
    ],
)
def test_an_offset_does_not_change_normalised_values(dtype: type, offset: float) -> None:
    expected = normalised(scan().astype(np.float64))
    far = scan().astype(dtype) + np.array(offset, dtype)
    np.testing.assert_allclose(normalised(far), expected, rtol=0, atol=1e-4)


def test_a_masked_scan_far_from_zero_keeps_its_grey_levels() -> None:
    near = scan().astype(np.float64)
    far = np.where(near > 0, near + 1e10, 0)
    foreground = near[0] > 0
    np.testing.assert_allclose(normalised(far)[0][foreground], normalised(near)[0][foreground], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_usual_scans_are_scaled_in_single_precision(dtype: type) -> None:
    array = (scan() // 4).astype(dtype)
    ready = volume(array)
    scaling = intensity.measure(ready, "auto", "zscore")
    expected = (array.astype(np.float32) - np.float32(scaling.mean[0])) / np.float32(scaling.std[0])
    np.testing.assert_array_equal(NormalizedVolume(array, ready.grid, scaling).normalise(array), expected)


@pytest.mark.parametrize("scale", [1e-40, 1e-60, 1e35])
def test_values_at_the_ends_of_the_range_are_scaled(scale: float) -> None:
    expected = normalised(scan().astype(np.float64))
    np.testing.assert_allclose(normalised(scan() * scale), expected, atol=1e-5)


def test_bias_correction_and_no_scaling_refuse_what_float32_loses() -> None:
    far = volume(scan() + 1e10)
    for use in (intensity.correct_bias, lambda v: intensity.measure(v, "auto", "none")):
        with pytest.raises(MedsegError) as caught:
            use(far)
        assert caught.value.code is Code.VALUES_TOO_LARGE
    assert intensity.measure(volume(scan() + 0.25), "auto", "none") == Normalization((0.0,), (1.0,))


def colours(array: Array) -> Volume:
    return Volume(array, Grid((4, 5, 1), np.eye(4), "px"))


def test_imagenet_scaling_agrees_for_all_depths() -> None:
    eight = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1)).astype(np.uint8)
    depths = [eight, eight.astype(np.uint16) * 257, eight.astype(np.float32) / 255, eight / 255]
    results = []
    for array in depths:
        scaling = intensity.measure(colours(array), "all", "imagenet")
        results.append(NormalizedVolume(array, colours(array).grid, scaling).normalise(array))
    for result in results:
        np.testing.assert_allclose(result, results[0], atol=1e-5)
    expected = (eight[1] / 255 - 0.456) / 0.224
    np.testing.assert_allclose(results[0][1], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.float32, 255), (np.int32, 255), (np.int16, 9), (np.float64, -1)]
)
def test_imagenet_scaling_of_an_unknown_range_is_refused(dtype: type, top: float) -> None:
    array = np.linspace(0, top, 60).reshape(3, 4, 5, 1).astype(dtype)
    with pytest.raises(MedsegError) as caught:
        intensity.measure(colours(array), "all", "imagenet")
    assert caught.value.code is Code.VALUE_RANGE_UNKNOWN


def test_white_of_an_8_bit_scan_outlives_resampling_and_bias_correction() -> None:
    array = np.random.default_rng(0).integers(1, 256, (3, 9, 9, 9)).astype(np.uint8)
    ready = intensity.correct_bias(volume(array))
    ready, _ = geometry.apply(ready, geometry.GeometryPlan(spacing_mm=(2, 2, 2)))
    assert ready.array.dtype == np.float32
    assert intensity.measure(ready, "all", "imagenet").mean[0] == 255 * 0.485
