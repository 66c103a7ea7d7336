"""The class list: what is foreground, what is void, and how it travels as JSON."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.classes import VOID, ClassList, ClassListError
from medseg.errors import MedsegError
from medseg.grid import Grid
from medseg.metrics import confusion_matrix, table
from medseg.metrics.table import Entry
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


@pytest.mark.parametrize(
    ("names", "background", "others"),
    [
        ({-1: "edge", 0: "outside", 2: "cell"}, 0, [-1, 2]),
        ({-1: "edge", 1: "cell", 9: " Background"}, 9, [-1, 1]),
        ({0: "air", 1: "background", 2: "cell"}, 1, [0, 2]),
        ({0: "background", 255: "cell"}, 0, [255]),
    ],
)
def test_the_background_is_the_class_so_named_or_value_0(
    names: dict[int, str], background: int, others: list[int]
) -> None:
    classes = ClassList.from_names(names)
    assert classes.values == (background, *others)
    assert classes.foreground_names == tuple(names[value] for value in others)
    values = np.array([*others, background])
    assert classes.to_values(classes.to_indices(values, "a.png")).tolist() == values.tolist()
    assert classes.to_indices(np.array([background]), "a.png").tolist() == [0]
    assert ClassList.from_json(classes.to_json()) == classes


@pytest.mark.parametrize("names", [{1: "grey", 2: "white"}, {-1: "ignored", 1: "cell"}])
def test_a_list_without_a_background_must_say_so(names: dict[int, str]) -> None:
    with pytest.raises(ClassListError, match="set background: false") as caught:
        ClassList.from_names(names)
    assert caught.value.part == "classes"
    assert ClassList.from_names(names, background=False).foreground_names == tuple(names.values())


@pytest.mark.parametrize(
    ("names", "void"), [({0: "background", 2**31: "a"}, ()), ({0: "a", 1: "b"}, (2**40,))]
)
def test_values_beyond_32_bits_are_refused(names: dict[int, str], void: tuple[int, ...]) -> None:
    with pytest.raises(ClassListError, match="beyond 32 bits"):
        ClassList.from_names(names, void_values=void)


def test_an_unknown_negative_value_is_offered_as_void() -> None:
    with pytest.raises(MedsegError) as caught:
        ClassList.from_names({0: "background", 1: "cell"}).to_indices(np.array([-1, 0, 1]), "a.nii")
    assert "data.void" in caught.value.finding.how_to_fix


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


@pytest.mark.parametrize("name", ["mean", "Mean", " MEAN ", "mean (foreground)"])
def test_a_class_that_is_called_as_the_mean_is_refused(name: str) -> None:
    with pytest.raises(ClassListError, match="rename it: tables and charts have a row of that name"):
        ClassList.from_names({0: "background", 1: name})
    assert ClassList.from_names({0: "background", 1: f"{name} of it"}).names[1] == f"{name} of it"
