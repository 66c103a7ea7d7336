"""Surface metrics: by hand, against brute force, and against MONAI.

MONAI's definitions are ours (surface = mask minus its erosion, border outside; exact Euclidean distances).
Two things differ: MONAI returns float32, and infinity or NaN where a mask is empty, for which we return None.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medseg.metrics import surface
from tests.oracles import surface as oracle

SPACING = (0.9375, 1.5, 0.8)


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def point(shape: tuple[int, ...], *voxels: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_surface_of_a_cube_is_its_shell():
    mask = np.zeros((7, 7, 7), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    shell = mask.copy()
    shell[2:5, 2:5, 2:5] = False
    assert np.array_equal(surface.surface(mask), shell)


def test_the_volume_border_is_outside():
    mask = np.ones((3, 3, 3), dtype=bool)
    expected = np.ones((3, 3, 3), dtype=bool)
    expected[1, 1, 1] = False
    assert np.array_equal(surface.surface(mask), expected)


def test_a_flat_axis_has_no_outside():
    mask = np.zeros((5, 5, 1), dtype=bool)
    mask[1:4, 1:4] = True
    assert surface.surface(mask).sum() == 8
    assert np.array_equal(surface.surface(mask)[:, :, 0], surface.surface(mask[:, :, 0]))


def test_a_single_voxel_is_its_own_surface():
    assert surface.surface(np.ones((1, 1, 1), dtype=bool)).all()


def test_two_points_two_voxels_apart():
    found = surface.distances(point((5, 5), (1, 1)), point((5, 5), (3, 1)), (2.0, 1.0))
    assert found is not None
    assert (found.hd95, found.assd) == (4.0, 4.0)
    assert (found.nsd(3.9), found.nsd(4.0)) == (0.0, 1.0)


def test_directed_sets_by_hand():
    # One true voxel, two predicted: at the same place and 3 mm away.
    truth, prediction = point((9, 3), (1, 1)), point((9, 3), (1, 1), (4, 1))
    found = surface.distances(truth, prediction, (1.0, 1.0))
    assert found is not None
    assert found.from_truth.tolist() == [0.0]
    assert found.from_prediction.tolist() == [0.0, 3.0]
    assert found.hd95 == pytest.approx(0.95 * 3.0)
    assert found.assd == pytest.approx(1.0)  # three voxels together, not the mean of two means
    assert found.nsd(1.0) == pytest.approx(2 / 3)


def test_a_spacing_rounded_to_float32_is_still_within_the_tolerance():
    spacing = (1.0000001, 1.0, 1.0)
    found = surface.distances(point((4, 4, 4), (1, 1, 1)), point((4, 4, 4), (2, 1, 1)), spacing)
    assert found is not None
    assert found.nsd(1.0) == 1.0


def test_an_empty_mask_has_no_distances():
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert surface.distances(empty, full, (1.0, 1.0, 1.0)) is None
    assert surface.distances(full, empty, (1.0, 1.0, 1.0)) is None
    assert surface.distances(empty, empty, (1.0, 1.0, 1.0)) is None


def test_equal_masks_are_at_distance_zero():
    mask = ball((12, 12, 12), (5, 6, 5), 4)
    found = surface.distances(mask, mask, SPACING)
    assert found is not None
    assert (found.hd95, found.assd, found.nsd(0.0)) == (0.0, 0.0, 1.0)


def test_bounding_box():
    mask = point((6, 7, 8), (2, 3, 4), (3, 3, 6))
    assert surface.bounding_box(mask) == (slice(2, 4), slice(3, 4), slice(4, 7))
    assert surface.bounding_box(mask, margin=3) == (slice(0, 6), slice(0, 7), slice(1, 8))
    assert mask[surface.bounding_box(np.zeros_like(mask))].size == 0


masks = hnp.arrays(bool, st.tuples(*[st.integers(1, 5)] * 3), elements=st.booleans())


@settings(max_examples=40, deadline=None)
@given(masks, st.data())
def test_brute_force_agrees(truth, draw):
    prediction = draw.draw(hnp.arrays(bool, truth.shape, elements=st.booleans()))
    assume(truth.any() and prediction.any() and max(truth.shape) > 1)
    found = surface.distances(truth, prediction, SPACING)
    assert found is not None
    assert found.from_truth == pytest.approx(oracle.directed(truth, prediction, SPACING))
    assert found.from_prediction == pytest.approx(oracle.directed(prediction, truth, SPACING))
    expected = oracle.metrics(truth, prediction, SPACING, 1.2)
    assert {"hd95": found.hd95, "assd": found.assd, "nsd": found.nsd(1.2)} == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(masks, st.data(), st.tuples(*[st.floats(0.3, 5.0)] * 3))
def test_the_tree_and_the_transform_give_the_same_distances(start, draw, spacing):
    goal = draw.draw(hnp.arrays(bool, start.shape, elements=st.booleans()))
    assume(start.any() and goal.any())
    by_tree, by_transform = (by(start, goal, spacing) for by in (surface.by_tree, surface.by_transform))
    assert by_transform == pytest.approx(by_tree, rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(masks, st.data(), st.tuples(*[st.floats(0.3, 5.0)] * 3), st.sampled_from([0, 4]))
def test_offsets_give_the_same_distances_where_they_reach(start, draw, spacing, patience):
    goal = draw.draw(hnp.arrays(bool, start.shape, elements=st.booleans())) & ~start
    assume(start.any() and goal.any())
    expected = surface.by_tree(start, goal, spacing)
    with pytest.MonkeyPatch.context() as change:
        change.setattr(surface, "_TREE_BUILD", patience)
        lengths, left = surface.by_offsets(start, goal, spacing)
    assert lengths[~left] == pytest.approx(expected[~left])
    assert expected[left].min(initial=np.inf) >= lengths[~left].max(initial=0) * (1 - 1e-12)


@pytest.mark.parametrize(
    ("spacing", "length"), [((1.0, 1.0, 1.0), 5.0), ((0.5, 0.5, 6.0), 5.0), ((1.0, 2.0), 10.0)]
)
def test_every_offset_up_to_the_longest_is_tried_once(spacing, length):
    reach, groups = surface._offsets(spacing, (True,) * len(spacing))
    tried = [tuple(offset) for _, offsets in groups for offset in offsets.tolist()]
    ranges = [range(-int(length / step), int(length / step) + 1) for step in spacing]
    lengths = {
        offset: math.dist(np.multiply(offset, spacing), (0,) * len(spacing)) for offset in product(*ranges)
    }
    every = {offset for offset, long in lengths.items() if 0 < long <= length}
    assert len(tried) == len(set(tried)) and set(tried) >= every
    assert all(max(abs(o[axis]) for o in tried) <= n for axis, n in enumerate(reach))


@pytest.mark.parametrize(("share", "unused"), [(0.01, "by_transform"), (0.3, "by_tree")])
def test_voxels_that_are_far_away_are_searched_as_their_count_is(share, unused, monkeypatch):
    start = np.random.default_rng(2).random((40, 20, 25)) < share
    start[:12] = False
    goal = ball(start.shape, (2, 10, 12), 3)
    expected = ndimage.distance_transform_edt(~goal, sampling=SPACING)[start]
    monkeypatch.setattr(surface, unused, None)
    assert surface._directed(start, goal, SPACING) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(bool, (4, 5, 3), elements=st.booleans()))
def test_surface_is_the_mask_minus_its_erosion(mask):
    assert np.array_equal(surface.surface(mask), mask & ~ndimage.binary_erosion(mask))


def test_a_distance_transform_agrees_on_a_brain_sized_volume():
    generator = np.random.default_rng(3)
    truth = ball((60, 50, 70), (28, 25, 33), 20)
    prediction = ball((60, 50, 70), (30, 24, 36), 21) & (generator.random(truth.shape) > 0.02)
    found = surface.distances(truth, prediction, SPACING)
    assert found is not None
    first, second = surface.surface(truth), surface.surface(prediction)
    assert found.from_truth == pytest.approx(ndimage.distance_transform_edt(~second, sampling=SPACING)[first])
    assert found.from_prediction == pytest.approx(
        ndimage.distance_transform_edt(~first, sampling=SPACING)[second]
    )


def _monai(truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], tolerance: float):
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    y_pred, y = (torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth))
    common = {"include_background": True, "spacing": spacing}
    return {
        "hd95": compute_hausdorff_distance(y_pred, y, percentile=95, **common).item(),
        "assd": compute_average_surface_distance(y_pred, y, symmetric=True, **common).item(),
        "nsd": compute_surface_dice(y_pred, y, [tolerance], **common).item(),
    }


of_monai_itself = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


@of_monai_itself
@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        (ball((24, 20, 26), (10, 9, 12), 7), ball((24, 20, 26), (12, 10, 12), 6)),
        (ball((24, 20, 26), (0, 9, 25), 7), ball((24, 20, 26), (2, 10, 24), 9)),  # cut by the border
        (ball((24, 20, 26), (3, 3, 3), 2), ball((24, 20, 26), (20, 15, 20), 3)),  # apart
        (ball((30, 28), (12, 12), 8), ball((30, 28), (14, 12), 6)),  # a plane
    ],
)
def test_monai_agrees(truth, prediction):
    spacing = SPACING[: truth.ndim]
    found = surface.distances(truth, prediction, spacing)
    assert found is not None
    expected = _monai(truth, prediction, spacing, 1.0)
    assert {"hd95": found.hd95, "assd": found.assd, "nsd": found.nsd(1.0)} == pytest.approx(
        expected, rel=1e-5
    )


@of_monai_itself
def test_monai_s_surface_dice_of_an_invented_mask_is_zero():
    empty, guess = np.zeros((8, 8, 8), dtype=bool), ball((8, 8, 8), (4, 4, 4), 2)
    with pytest.warns(UserWarning, match="is all 0"):
        assert _monai(empty, guess, (1.0, 1.0, 1.0), 1.0)["nsd"] == 0.0


@of_monai_itself
def test_monai_says_infinity_where_we_say_undefined():
    truth, empty = ball((8, 8, 8), (4, 4, 4), 2), np.zeros((8, 8, 8), dtype=bool)
    with pytest.warns(UserWarning, match="is all 0"):
        found = _monai(truth, empty, (1.0, 1.0, 1.0), 1.0)
    assert not math.isfinite(found["hd95"])
    assert found["nsd"] == 0.0
    assert surface.distances(truth, empty, (1.0, 1.0, 1.0)) is None
