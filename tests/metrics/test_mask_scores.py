"""Scores of overlapping masks: each as if it were alone; matrices of a set, there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.classes import VOID, ClassList
from medseg.grid import Grid
from medseg.mask_bits import pack_masks
from medseg.metrics import confusion_matrix, summary, table
from medseg.metrics.table import Entry

CLASSES = ClassList.of_masks({"whole": (), "core": (), "rim": ()})
GRID = Grid((4, 5, 3), np.eye(4))


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (2, 3, X, Y, Z): truth with void, and prediction."""
    rng = np.random.default_rng(seed)
    masks = (rng.random((2, 3, *GRID.shape)) < 0.4).astype(np.uint8)
    masks[0, :, rng.random(GRID.shape) < 0.1] = VOID
    return masks[0], masks[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_each_mask_is_scored_as_if_it_were_alone(seed: int, missing: bool) -> None:
    truth, guess = drawn(seed)
    packed = None if missing else pack_masks(guess)
    rows = table.score(Entry("a", "s"), pack_masks(truth), packed, GRID, CLASSES)
    assert [row.class_name for row in rows] == ["whole", "core", "rim"]
    stack = confusion_matrix.confusion_of(pack_masks(truth), packed, CLASSES)
    for i, row in enumerate(rows):
        alone = ClassList.from_names({0: "outside", 1: row.class_name})
        seen = None if missing else guess[i]
        assert [row] == table.score(Entry("a", "s"), truth[i], seen, GRID, alone)
        assert np.array_equal(stack[i], confusion_matrix.confusion(truth[i], seen, 2))
    expected = [confusion_matrix.dice(matrix)[1] for matrix in stack]
    assert np.array_equal(confusion_matrix.foreground_dice(stack, CLASSES), expected, equal_nan=True)


def test_of_classes_that_exclude_each_other_the_matrix_is_as_ever() -> None:
    plain = ClassList.from_names({0: "background", 1: "csf"})
    truth = np.array([[[0, 1, 1, VOID]]], np.uint8)
    matrix = confusion_matrix.confusion_of(truth, truth % 2, plain)
    assert np.array_equal(matrix, confusion_matrix.confusion(truth, truth % 2, 2))
    assert confusion_matrix.foreground_dice(matrix, plain).tolist() == [1.0]


def test_the_matrices_of_a_set_there_and_back(tmp_path: Path) -> None:
    truth, guess = drawn(1)
    stack = confusion_matrix.confusion_of(pack_masks(truth), pack_masks(guess), CLASSES)
    table.write_confusion(tmp_path / "confusion.csv", {"test": stack}, CLASSES)
    found = table.read_confusion(tmp_path / "confusion.csv")
    assert list(found) == ["test, whole", "test, core", "test, rim"]
    for i, matrix in enumerate(found.values()):
        assert np.array_equal(matrix, stack[i])
    first = (tmp_path / "confusion.csv").read_text().splitlines()[0]
    assert first == "set,mask,truth,outside,inside"


def test_the_summary_has_each_mask_s_numbers_over_the_set() -> None:
    truth, guess = drawn(2)
    packed = pack_masks(truth), pack_masks(guess)
    rows = table.score(Entry("a", "s"), *packed, GRID, CLASSES)
    stack = confusion_matrix.confusion_of(*packed, CLASSES)
    told = summary.summarise(rows, {"test": stack}, background=False, names=CLASSES.names)["sets"]["test"]
    assert list(told["classes"]) == ["whole", "core", "rim"]
    for i, name in enumerate(CLASSES.names):
        assert told["over_masks"][name] == confusion_matrix.over_set(stack[i])
        assert told["over_set"]["iou_by_class"][name] == confusion_matrix.iou(stack[i])[1]
    assert "G" not in told["over_set"]
