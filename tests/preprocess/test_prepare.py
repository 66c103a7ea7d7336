"""The one way from a scan to what networks see, and back."""

from __future__ import annotations

import numpy as np

from medseg.grid import Grid, same_grid
from medseg.preprocess import geometry, intensity
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.volume import Volume

AFFINE = np.array([[0, 0, -1.0, 9], [2.0, 0, 0, -4], [0, 1.0, 0, 3], [0, 0, 0, 1]])


def scan() -> Volume:
    array = np.zeros((2, 9, 10, 8), np.float32)
    array[:, 2:7, 3:9, 1:6] = np.random.default_rng(0).uniform(10, 99, (2, 5, 6, 5))
    return Volume(array, Grid((9, 10, 8), AFFINE))


def test_the_steps_are_bias_field_geometry_and_grey_values_in_this_order() -> None:
    plan = PreparePlan(GeometryPlan((1.0, 1.0, 1.0), crop=True, crop_margin=1), n4=True)
    volume, record = prepare(scan(), plan)
    by_hand, expected = geometry.apply(intensity.correct_bias(scan()), plan.geometry)
    np.testing.assert_array_equal(volume.array, by_hand.array)
    assert volume.normalization == intensity.measure(by_hand, "auto", "zscore")
    assert same_grid(volume.grid, expected.grid)
    assert record.box == expected.box


def test_without_resampling_nothing_is_copied_and_labels_come_back_to_their_voxels() -> None:
    image = scan()
    volume, record = prepare(image, PreparePlan(GeometryPlan(crop=True, crop_margin=0), intensity="none"))
    assert np.shares_memory(volume.array, image.array)
    assert volume.normalization.std == (1.0, 1.0)
    inside = Volume(np.ones((1, *volume.grid.shape), np.uint8), volume.grid)
    back = geometry.undo(inside, record)
    np.testing.assert_array_equal(back.array[0], (image.array > 0).any(axis=0))


def test_voxel_edges_are_given_along_right_anterior_superior() -> None:
    np.testing.assert_allclose(geometry.ras_spacing(scan().grid), (1.0, 2.0, 1.0))
    assert scan().grid.spacing == (2.0, 1.0, 1.0)
