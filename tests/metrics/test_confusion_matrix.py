from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn

from medseg.classes import VOID
from medseg.errors import Code, MedsegError
from medseg.metrics import confusion_matrix
from tests.oracles import metrics as oracle


def digits(text: str) -> np.ndarray:
    return np.array([int(c) for c in text], dtype=np.uint8)


M1 = confusion_matrix.confusion(digits("0000011122"), digits("0000111220"), 3)
M2 = np.array([[4, 1], [2, 3]])  # TN FP / FN TP
NAN = float("nan")
of_monai_itself = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


def test_m1_matrix():
    assert M1.tolist() == [[4, 1, 0], [0, 2, 1], [1, 0, 1]]
    assert M1.dtype == np.int64


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (confusion_matrix.recall, [0.8, 2 / 3, 0.5]),
        (confusion_matrix.precision, [0.8, 2 / 3, 0.5]),
        (confusion_matrix.iou, [2 / 3, 0.5, 1 / 3]),
        (confusion_matrix.dice, [0.8, 2 / 3, 0.5]),
    ],
)
def test_m1_per_class(function, expected):
    assert function(M1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (confusion_matrix.pixel_accuracy, 0.7),
        (confusion_matrix.class_accuracy, 0.655556),
        (confusion_matrix.mean_iou, 0.5),
        (confusion_matrix.frequency_weighted_iou, 0.55),
        (confusion_matrix.size_weighted_dice, 0.6),
    ],
)
def test_m1_over_the_set(function, expected):
    assert function(M1) == pytest.approx(expected, abs=1e-6)


def test_m1_size_weighted_dice_with_background():
    assert confusion_matrix.size_weighted_dice(M1, background=True) == pytest.approx(0.7)


def test_m2():
    assert confusion_matrix.pixel_accuracy(M2) == pytest.approx(0.7)
    assert confusion_matrix.precision(M2)[1] == pytest.approx(0.75)
    assert confusion_matrix.recall(M2)[1] == pytest.approx(0.6)
    dice, iou = confusion_matrix.dice(M2)[1], confusion_matrix.iou(M2)[1]
    assert dice == pytest.approx(2 / 3)
    assert iou == pytest.approx(0.5)
    assert iou == pytest.approx(dice / (2 - dice))
    assert confusion_matrix.weighted_error(M2, 3.0, 10.0)[1] == pytest.approx(3 * 1 + 10 * 2)


def test_over_set_names_every_number():
    found = confusion_matrix.over_set(M1, 1.0, 2.0)
    assert found == pytest.approx(
        {
            "G": 0.7,
            "C": 0.655556,
            "mIoU": 0.5,
            "fwIoU": 0.55,
            "size_weighted_dice": 0.6,
            "weighted_error": (1 + 2 * 1) + (1 + 2 * 1),
        },
        abs=1e-6,
    )


def test_a_class_in_neither_is_undefined_and_left_out_of_means():
    matrix = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 5]])
    for function in (
        confusion_matrix.dice,
        confusion_matrix.iou,
        confusion_matrix.precision,
        confusion_matrix.recall,
    ):
        assert function(matrix) == pytest.approx([1.0, NAN, 1.0], nan_ok=True)
    assert confusion_matrix.mean_iou(matrix) == confusion_matrix.class_accuracy(matrix) == 1.0


def test_a_class_in_the_prediction_only_counts_in_miou_but_not_in_class_accuracy():
    matrix = np.array([[5, 5], [0, 0]])
    assert confusion_matrix.iou(matrix) == pytest.approx([0.5, 0.0])
    assert confusion_matrix.precision(matrix)[1] == 0.0
    assert np.isnan(confusion_matrix.recall(matrix)[1])
    assert confusion_matrix.mean_iou(matrix) == 0.25
    assert confusion_matrix.class_accuracy(matrix) == 0.5


def test_an_empty_matrix_is_undefined_everywhere():
    empty = np.zeros((2, 2), dtype=np.int64)
    found = confusion_matrix.over_set(empty)
    assert found.pop("weighted_error") == 0
    assert all(np.isnan(value) for value in found.values())


def test_void_is_left_out_whatever_the_prediction_says():
    truth, prediction = digits("0011"), digits("0110")
    truth[3] = 255
    assert confusion_matrix.confusion(truth, prediction, 2).tolist() == [[1, 1], [0, 1]]
    prediction[3] = 255
    assert confusion_matrix.confusion(truth, prediction, 2).tolist() == [[1, 1], [0, 1]]


def test_a_missing_prediction_without_a_background_is_right_nowhere():
    truth = np.array([0, 0, 1, 2, 255], dtype=np.uint8)
    matrix = confusion_matrix.confusion(truth, None, 3, background=False)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 1], [1, 0, 0]]


def test_a_missing_prediction_counts_as_background():
    assert confusion_matrix.confusion(digits("0011"), None, 2).tolist() == [[2, 0], [2, 0]]


def test_other_integer_types_are_taken():
    truth, prediction = digits("0012").astype(np.int64), digits("0112").astype(np.int16)
    assert confusion_matrix.confusion(truth, prediction, 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_matrices_of_cases_add_up_to_the_matrix_of_the_set():
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 4, (2, 6, 7, 8, 9), dtype=np.uint8)
    parts = sum(confusion_matrix.confusion(t, p, 4) for t, p in zip(truth, prediction, strict=True))
    assert np.array_equal(parts, confusion_matrix.confusion(truth, prediction, 4))


def test_more_voxels_than_one_chunk():
    truth = np.zeros((1 << 20) + 3, dtype=np.uint8)
    truth[-1] = 1
    assert confusion_matrix.confusion(truth, truth, 2).tolist() == [[(1 << 20) + 2, 0], [0, 1]]


@pytest.mark.parametrize("wrong", [3, 254, 300, -1])
def test_an_index_outside_the_class_list_is_refused(wrong):
    truth, prediction = np.array([0, 1, 2]), np.array([0, 1, wrong])
    with pytest.raises(MedsegError) as refusal:
        confusion_matrix.confusion(truth, prediction, 3, where="a")
    assert refusal.value.code is Code.LABEL_VALUE_UNKNOWN
    assert refusal.value.finding.where == "a"


def test_other_shapes_are_refused():
    with pytest.raises(MedsegError) as refusal:
        confusion_matrix.confusion(digits("0011"), digits("001"), 2)
    assert refusal.value.code is Code.GRID_MISMATCH


labels = hnp.arrays(np.uint8, (3, 4, 2), elements=st.sampled_from([0, 1, 2, 3]))
truths = hnp.arrays(np.uint8, (3, 4, 2), elements=st.sampled_from([0, 1, 2, 3, 255]))


@settings(max_examples=40, deadline=None)
@given(truths, labels)
def test_counting_voxel_by_voxel_agrees(truth, prediction):
    matrix = confusion_matrix.confusion(truth, prediction, 4)
    for index in range(4):
        expected = oracle.overlaps(truth, prediction, index)
        for name, value in expected.items():
            found = getattr(confusion_matrix, name)(matrix)[index]
            assert found == pytest.approx(NAN if value is None else value, nan_ok=True)
        tp, fp, fn, tn = oracle.counts(truth, prediction, index)
        assert confusion_matrix.true_positives(matrix)[index] == tp
        assert confusion_matrix.false_positives(matrix)[index] == fp
        assert confusion_matrix.false_negatives(matrix)[index] == fn
        assert confusion_matrix.true_negatives(matrix)[index] == tn
        assert matrix.sum() == tp + fp + fn + tn
        negative = confusion_matrix.negative_rate(matrix)[index]
        assert negative == pytest.approx(tn / (fn + tn) if fn + tn else NAN, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(truths, labels)
def test_the_numbers_over_a_set_agree_with_counting_voxel_by_voxel(truth, prediction):
    found = confusion_matrix.over_set(confusion_matrix.confusion(truth, prediction, 4))
    for name, value in oracle.over_set(truth, prediction, 4).items():
        assert found[name] == pytest.approx(NAN if value is None else value, nan_ok=True), name


@settings(max_examples=40, deadline=None)
@given(truths, labels)
def test_another_library_finds_the_same_matrix_and_numbers(truth, prediction):
    valid = truth != 255
    if not valid.any():
        return
    here = truth[valid], prediction[valid]
    matrix = confusion_matrix.confusion(truth, prediction, 4)
    assert np.array_equal(matrix, sklearn.confusion_matrix(*here, labels=range(4)))
    found = confusion_matrix.over_set(matrix)
    in_truth, in_either = np.unique(here[0]), np.union1d(*here)
    assert found["G"] == pytest.approx(sklearn.accuracy_score(*here))
    assert found["C"] == pytest.approx(recall(here, in_truth, "macro"))
    assert found["mIoU"] == pytest.approx(jaccard(here, in_either, "macro"))
    assert found["fwIoU"] == pytest.approx(jaccard(here, in_either, "weighted"))
    assert confusion_matrix.iou(matrix)[in_either] == pytest.approx(jaccard(here, in_either, None))


def recall(here, classes, average):
    return sklearn.recall_score(*here, labels=classes, average=average, zero_division=0)


def jaccard(here, classes, average):
    return sklearn.jaccard_score(*here, labels=classes, average=average, zero_division=0)


def test_void_in_a_prediction_counts_as_background():
    truth, prediction = np.array([0, 1, 1, 2, VOID]), np.array([VOID, VOID, 1, VOID, VOID])
    assert confusion_matrix.confusion(truth, prediction, 3).tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]


def test_void_in_a_prediction_without_a_background_is_never_right():
    truth, prediction = np.array([0, 1, 2, 2, VOID]), np.array([VOID, VOID, VOID, 2, 0])
    matrix = confusion_matrix.confusion(truth, prediction, 3, background=False)
    assert matrix.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 1]]


@of_monai_itself
@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, (2, 3, 4, 2), elements=st.integers(0, 3)))
def test_monai_s_dice_agrees(maps):
    import torch
    from monai.metrics import DiceHelper

    truth, prediction = maps
    onehot = [torch.from_numpy(np.stack([labels == k for k in range(4)])[None]).float() for labels in maps]
    helper = DiceHelper(include_background=True, reduction="none", get_not_nans=False, ignore_empty=False)
    theirs = helper(onehot[1], onehot[0])[0].numpy()
    ours = confusion_matrix.dice(confusion_matrix.confusion(truth, prediction, 4))
    # In neither: MONAI counts 1 (or leaves it out); here it is absent.
    assert np.where(np.isnan(ours), 1.0, ours) == pytest.approx(theirs, abs=1e-6)


def test_numbers_of_the_negative_class_by_hand() -> None:
    """PAPERS' data M2: TP 3, FP 1, FN 2, TN 4."""
    assert confusion_matrix.true_negatives(M2).tolist() == [3, 4]
    assert confusion_matrix.accuracy(M2).tolist() == [0.7, 0.7]
    assert confusion_matrix.negative_rate(M2)[1] == pytest.approx(4 / 6)
    assert np.isnan(confusion_matrix.negative_rate(np.array([[0, 2], [0, 3]]))[1])  # nothing is negative
