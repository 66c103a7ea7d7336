from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.metrics import boundary
from tests.oracles import boundary as oracle


def square(rows: slice = np.s_[2:6], columns: slice = np.s_[2:6]) -> np.ndarray:
    """A 10×10 image with a rectangle of class 1; by default rows and columns 2 to 5, 12 boundary pixels."""
    out = np.zeros((10, 10), dtype=np.uint8)
    out[rows, columns] = 1
    return out


def drawn(*rows: str) -> np.ndarray:
    """Labels by digit; `v` is void."""
    return np.array([[255 if c == "v" else int(c) for c in row] for row in rows], dtype=np.uint8)


@pytest.mark.parametrize(
    ("columns", "tolerance", "f1"),
    [
        (np.s_[3:7], 0, 1 / 2),
        (np.s_[3:7], 1, 1),
        (np.s_[4:8], 0, 1 / 3),
        (np.s_[4:8], 1, 2 / 3),
        (np.s_[4:8], 2, 1),
        (np.s_[2:8], 0, 0.714286),
        (np.s_[2:8], 1, 0.857143),
        (np.s_[2:8], 2, 1),
    ],
)
def test_a_moved_or_widened_square(columns, tolerance, f1):
    found = boundary.scores(square(), square(columns=columns), tolerance)[1]
    assert found.f1 == pytest.approx(f1, abs=1e-6)


def test_a_widened_square_has_sixteen_boundary_pixels():
    found = boundary.scores(square(), square(columns=np.s_[2:8]), 0)[1]
    assert (found.precision, found.recall) == pytest.approx((0.625, 0.833333), abs=1e-6)
    found = boundary.scores(square(), square(columns=np.s_[2:8]), 1)[1]
    assert (found.precision, found.recall) == (0.75, 1)


def test_boundary_pixels_are_in_the_mask_and_the_border_is_none():
    assert boundary.boundary(drawn("1110", "1110", "0000")).astype(int).tolist() == [
        [0, 0, 1, 1],
        [1, 1, 1, 1],
        [1, 1, 1, 0],  # the corner touches the square by its corner only
    ]
    assert not boundary.boundary(drawn("11", "11")).any()


def test_the_tolerance_is_a_share_of_the_diagonal():
    assert boundary.tolerance_px((360, 480)) == boundary.tolerance_px((480, 360)) == pytest.approx(4.5)
    assert boundary.tolerance_px((30, 40), 0.1) == pytest.approx(5.0)


def test_a_distance_equal_to_the_tolerance_is_in_reach():
    truth, prediction = np.zeros((2, 9, 9), dtype=np.uint8)
    truth[1, 1] = prediction[4, 5] = 1  # 3 and 4 px apart
    assert boundary.scores(truth, prediction, 5.0)[1].f1 == 1
    assert boundary.scores(truth, prediction, 4.99)[1].f1 == 0


@pytest.mark.parametrize("prediction", [np.zeros((10, 10), np.uint8), np.ones((10, 10), np.uint8), None])
def test_a_prediction_without_a_boundary_scores_0(prediction):
    found = boundary.scores(square(), prediction, 2)
    assert {index: score.f1 for index, score in found.items()} == {0: 0.0, 1: 0.0}
    assert found[1] == boundary.BoundaryScore(None, 0.0)


def test_only_classes_with_a_boundary_in_the_truth_have_a_score():
    everything = np.ones((10, 10), dtype=np.uint8)
    assert boundary.scores(everything, square(), 2) == {}
    assert boundary.scores(square(), square() * np.uint8(2), 2).keys() == {0, 1}


def test_a_boundary_matches_its_own_class_alone():
    # The edge lies where it should, but between other classes.
    found = boundary.scores(drawn("0011"), drawn("1122"), 0)
    assert (found[0].f1, found[1].f1) == (0, 0)
    # One pixel apart, class 1's boundary pixel is in reach of its own.
    assert boundary.scores(drawn("0011"), drawn("1122"), 1)[1].f1 == 1


def test_the_edge_of_a_class_and_void_is_a_boundary_of_the_class():
    truth = drawn("00v11", "00v11")
    assert boundary.boundary(truth).astype(int).tolist() == [[0, 1, 0, 1, 0]] * 2
    found = boundary.scores(truth, drawn("00011", "00011"), 0)
    assert (found[0].recall, found[1].f1) == (0, 1)


def test_a_predicted_edge_on_void_is_found_but_not_counted():
    truth = drawn("00vv11", "00vv11")
    within = boundary.scores(truth, drawn("000111", "000111"), 1)  # both edges lie on void
    assert within == {0: boundary.BoundaryScore(1.0, 1.0), 1: boundary.BoundaryScore(1.0, 1.0)}
    assert boundary.scores(truth, drawn("000111", "000111"), 0)[0] == boundary.BoundaryScore(1.0, 0.0)
    # Of class 1, the edge of the patch on void does not count, that at the left end does.
    beside = boundary.scores(truth, drawn("100111", "000111"), 1)[1]
    assert (beside.precision, beside.recall) == (0, 1)


def test_a_ring_of_void_leaves_the_object_its_score():
    truth = np.zeros((20, 20), dtype=np.uint8)
    truth[5:15, 5:15] = 255
    truth[7:13, 7:13] = 1
    prediction = np.zeros_like(truth)
    prediction[6:14, 6:14] = 1
    assert boundary.scores(truth, prediction, 1.5)[1].f1 == 1
    moved = np.roll(prediction, 5, axis=0)
    assert 0 < boundary.scores(truth, moved, 1.5)[1].f1 < 0.6


labels = hnp.arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2]))
truths = hnp.arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2, 255]), fill=st.just(0))


@settings(max_examples=80, deadline=None)
@given(truths, labels, st.sampled_from([0.0, 1.0, 1.5, 2.0, 5.0]))
def test_comparing_every_pair_of_pixels_agrees(truth, prediction, tolerance):
    found = boundary.scores(truth, prediction, tolerance)
    for index in range(3):
        expected = oracle.score(truth, prediction, index, tolerance)
        if expected is None:
            assert index not in found
        else:
            score = found[index]
            assert (score.precision, score.recall, score.f1) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(labels, labels)
def test_exchanging_both_exchanges_precision_and_recall(one, other):
    there, back = boundary.scores(one, other, 1), boundary.scores(other, one, 1)
    for index in there.keys() & back.keys():
        assert there[index].precision == back[index].recall
        assert there[index].f1 == pytest.approx(back[index].f1)


@pytest.mark.data
def test_a_real_street_against_itself_moved_within_the_tolerance(data: Path):
    from PIL import Image

    paths = sorted((data / "camvid" / "valannot").glob("*.png"))
    if not paths:
        pytest.skip("camvid is not among the data")
    truth = np.asarray(Image.open(paths[0])).T.copy()
    truth[truth == 11] = 255
    tolerance = boundary.tolerance_px(truth.shape)
    assert tolerance == pytest.approx(4.5)
    assert {score.f1 for score in boundary.scores(truth, truth, 0).values()} == {1.0}
    moved = np.roll(np.where(truth == 255, 0, truth), 4, axis=0)
    near, exact = boundary.scores(truth, moved, tolerance), boundary.scores(truth, moved, 0)
    assert np.mean([s.f1 for s in near.values()]) > 0.8 > np.mean([s.f1 for s in exact.values()])
