"""Images at another pixel size: area averages, bilinear, labels by nearest neighbour, and all undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.classes import VOID
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.preprocess import geometry, intensity
from medseg.preprocess.geometry import GeometryPlan
from medseg.volume import Volume
from tests.oracles import geometry as nearest
from tests.oracles import pixels as oracle


def image(array: Array) -> Volume:
    """(C, H, W) in px."""
    height, width = array.shape[1:]
    return Volume(array[..., None], Grid((height, width, 1), np.eye(4), "px"))


def resized(array: Any, *spacing_px: float) -> Array:
    rows, columns = spacing_px
    found, _ = geometry.apply(image(np.array(array)), GeometryPlan(spacing_px=(rows, columns)))
    return found.array[..., 0]


def test_shrinking_by_hand_averages_the_pixels_under_each_new_one() -> None:
    four = np.array([[[0, 2, 10, 20], [4, 6, 30, 40]]], np.uint8)
    assert resized(four, 2, 2).tolist() == [[[3, 25]]]
    assert resized(four, 2, 1).tolist() == [[[2, 4, 20, 30]]]
    assert resized(four, 2, 2).dtype == np.uint8
    # 3 px seen as 2 of 1.5: a whole one and half of the middle one, (0·1 + 9·½) / 1.5 and (9·½ + 30) / 1.5
    assert resized(np.array([[[0, 9, 30]]], np.uint8), 1, 1.5).tolist() == [[[3, 23]]]
    # halves go to the even neighbour
    assert resized(np.array([[[0, 1, 1, 2]]], np.uint8), 1, 2).tolist() == [[[0, 2]]]


def test_growing_by_hand_is_bilinear_and_goes_on_at_the_edge() -> None:
    assert resized(np.array([[[0, 4]]], np.uint8), 1, 0.5).tolist() == [[[0, 1, 3, 4]]]
    assert resized(np.array([[[0.0, 4.0]]], np.float32), 1, 0.5).dtype == np.float32


@given(
    shape=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    spacing=st.tuples(st.floats(0.4, 3.1), st.floats(0.4, 3.1)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=120, deadline=None)
def test_images_and_labels_equal_the_oracles_there_and_back(
    shape: tuple[int, int], spacing: tuple[float, float], seed: int
) -> None:
    random = np.random.default_rng(seed)
    scan = image(random.integers(0, 256, (2, *shape), dtype=np.uint8))
    ready, record = geometry.apply(scan, GeometryPlan(spacing_px=spacing))
    assert ready.grid.unit == "px"
    assert ready.array.dtype == np.uint8
    # the rule itself is at most one apart where the oracle's sum lies by a rounding error beside a half
    for channel, found in zip(scan.array[..., 0], ready.array[..., 0], strict=True):
        exact = oracle.resize(channel, scan.grid, ready.grid)
        assert np.abs(found - exact).max() <= 0.5 + 1e-6
    truth = random.choice(np.array([0, 1, 2, VOID], np.uint8), (1, *shape))
    labels = geometry.apply_to_labels(image(truth), record)
    expected = nearest.nearest(truth[0][..., None], scan.grid, ready.grid)
    np.testing.assert_array_equal(labels.array[0], expected)
    back = geometry.undo(labels, record)
    assert back.grid.shape == scan.grid.shape
    np.testing.assert_array_equal(back.grid.affine, scan.grid.affine)
    np.testing.assert_array_equal(back.array[0], nearest.nearest(expected, ready.grid, scan.grid))


def test_sixteen_bits_stay_and_the_same_size_is_a_view() -> None:
    deep = np.array([[[0, 60_000, 65_535, 65_535]]], np.uint16)
    assert resized(deep, 1, 2).tolist() == [[[30_000, 65_535]]]
    assert resized(deep, 1, 2).dtype == np.uint16
    same, record = geometry.apply(image(deep), GeometryPlan(spacing_px=(1, 1)))
    assert np.shares_memory(same.array, deep)
    assert not record.resampled


@pytest.mark.parametrize(
    ("unit", "keywords", "told"),
    [
        ("mm", {"spacing_px": (2, 2)}, "a volume in mm; use spacing_mm"),
        ("px", {"spacing_mm": (2, 2, 2)}, "a volume in px; use spacing_px"),
    ],
)
def test_a_spacing_in_another_unit_is_refused(unit: Any, keywords: dict[str, Any], told: str) -> None:
    scan = Volume(np.zeros((1, 4, 4, 1), np.uint8), Grid((4, 4, 1), np.eye(4), unit))
    with pytest.raises(MedsegError) as refused:
        geometry.apply(scan, GeometryPlan(**keywords))
    assert refused.value.code == Code.KEYWORD_INVALID
    assert told in str(refused.value)


@pytest.mark.parametrize("spacing", [(0, 1), (1,), (1, 1, 1)])
def test_impossible_pixel_sizes_are_refused(spacing: Any) -> None:
    with pytest.raises(MedsegError, match="two lengths above 0 px"):
        GeometryPlan(spacing_px=spacing)


def test_imagenet_scaling_is_that_of_colours_from_0_to_1_and_needs_three() -> None:
    colours = image(np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8))
    normalization = intensity.measure(colours, "auto", "imagenet")
    ready = intensity.NormalizedVolume(colours.array, colours.grid, normalization)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (colours.array / 255 - mean.reshape(3, 1, 1, 1)) / deviation.reshape(3, 1, 1, 1)
    np.testing.assert_allclose(ready.normalise(colours.array), expected, atol=1e-5)
    with pytest.raises(MedsegError, match="imagenet scaling of 1 channel") as refused:
        intensity.measure(image(np.zeros((1, 4, 4), np.uint8)), "auto", "imagenet")
    assert refused.value.code == Code.KEYWORD_INVALID
