"""The class list: what is foreground, what is void, and how it travels as JSON."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.classes import VOID, ClassList
from medseg.evaluate import confusion_matrix, table
from medseg.evaluate.table import Entry
from medseg.grid import Grid
from medseg.patches.sampler import _by_class

STREET = ClassList.from_names({0: "sky", 1: "road", 2: "car"}, void_values=(11, 255), background=False)


def test_without_a_background_every_class_is_foreground() -> None:
    assert list(STREET.foreground) == [0, 1, 2]
    assert STREET.foreground_names == ("sky", "road", "car")
    assert ClassList.from_names({0: "background", 1: "csf"}).foreground_names == ("csf",)


def test_all_void_values_become_void() -> None:
    assert STREET.to_indices(np.array([0, 11, 2, 255]), "a.png").tolist() == [0, VOID, 2, VOID]
    assert STREET.to_values(np.array([0, VOID, 2], np.uint8)).tolist() == [0, 11, 2]


def test_a_void_value_that_is_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="void value 1 is also a class"):
        ClassList.from_names({0: "sky", 1: "road"}, void_values=(1,))


@pytest.mark.parametrize("classes", [STREET, ClassList.from_names({0: "background", 3: "csf"})])
def test_json_there_and_back(classes: ClassList) -> None:
    assert ClassList.from_json(classes.to_json(), classes.void_values) == classes


def test_colours_of_many_classes_differ() -> None:
    many = ClassList.from_names({i: f"class {i}" for i in range(60)}, background=False)
    assert len({c.colour for c in many.classes}) > 50


def test_the_first_class_is_scored_like_the_others() -> None:
    truth = np.array([[0, 0, 1], [2, VOID, 1]], np.uint8)[..., None]
    guess = np.array([[0, 1, 1], [2, 0, 1]], np.uint8)[..., None]
    rows = table.score(Entry("a", "a"), truth, guess, Grid((2, 3, 1), np.eye(4), "px"), STREET)
    assert [(r.class_name, r.iou, r.reference_size) for r in rows] == [
        ("sky", 0.5, 2.0),
        ("road", pytest.approx(2 / 3), 2.0),
        ("car", 1.0, 1.0),
    ]
    matrix = confusion_matrix.confusion(truth, guess, 3)
    held = confusion_matrix.over_set(matrix, background=False)
    assert held["weighted_error"] == 2.0
    assert held["size_weighted_dice"] == pytest.approx((2 * 2 / 3 + 2 * 0.8 + 1) / 5)


def test_patches_are_drawn_around_the_first_class_too() -> None:
    positions = np.array([[0, 5, 6, 0], [2, 1, 1, 0]], np.int16)
    assert [p.tolist() for p in _by_class(positions, 0)] == [[[5, 6, 0]], [[1, 1, 0]]]
    assert [p.tolist() for p in _by_class(positions, 1)] == [[[1, 1, 0]]]
