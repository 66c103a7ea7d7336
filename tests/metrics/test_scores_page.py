"""docs/scores.md: its example gives the numbers that it states, and the functions that it names exist."""

from __future__ import annotations

import doctest
import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

from medseg.classes import Class, ClassList
from medseg.grid import Grid
from medseg.metrics import surface
from medseg.metrics.table import Entry, diagonal, score

PAGE = Path(__file__).parents[2] / "docs/scores.md"
TEXT = PAGE.read_text()


def test_the_example_of_the_page_works() -> None:
    done = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert done.attempted > 10
    assert done.failed == 0


def test_functions_that_the_page_names_exist() -> None:
    named = set(re.findall(r"\[`([\w.]+)`\]\(\.\./(medseg/metrics/\w+)\.py\)", TEXT))
    assert len(named) > 15
    for name, path in named:
        item: object = importlib.import_module(path.replace("/", "."))
        for part in name.split("."):
            item = getattr(item, part)


def test_distances_of_the_example_are_those_that_the_page_lists() -> None:
    truth, guess = np.zeros((2, 5, 6, 1), bool)
    truth[1:3, 1:5], guess[2:4, 1:4] = True, True
    distances = surface.distances(truth, guess, (2.0, 1.0, 1.0))
    assert distances is not None
    assert sorted(distances.from_truth) == pytest.approx([0, 0, 0, 1, 2, 2, 2, math.sqrt(5)])
    assert sorted(distances.from_prediction) == pytest.approx([0, 0, 0, 2, 2, 2])


def test_quotients_of_the_tables_are_their_numbers() -> None:
    """Cells like `6 / 14 = 0.4286`, and those over the set, which the example prints."""
    stated = re.findall(r"\| ([^|=]+) = ([\d.]+)(?: mm)? \|", TEXT)
    assert len(stated) == 7
    for formula, value in stated:
        assert round(calculated(formula), 4) == float(value)
    numbers = re.findall(r"^(?:G|C|mIoU|fwIoU|\w+_dice|\w+_error) (\S+)$", TEXT, re.M)
    names = "G|C|mIoU|fwIoU|size-weighted Dice|weighted error"
    cells = re.findall(rf"^\| (?:{names}) \|[^|]+\| ([^|]+) \|", TEXT, re.M)
    assert [round(calculated(cell), 4) for cell in cells] == [float(n) for n in numbers]
    assert len(numbers) == 6


def calculated(formula: str) -> float:
    """The value of a formula of the page, such as `2 + 0.65 · (√5 − 2)`."""
    code = formula.replace("·", "*").replace("−", "-").replace("√5", "5**0.5")
    assert re.fullmatch(r"(?:max|[\d\s.+*/(),-])+", code), formula
    return float(eval(code, {"max": max}))  # noqa: S307 (digits and operators alone)


def test_empty_masks_score_as_the_table_says() -> None:
    grid, classes = (
        Grid((5, 6, 1), np.eye(4)),
        ClassList((Class(0, "background", (0, 0, 0)), Class(1, "lesion", (9, 9, 9)))),
    )
    empty, full = np.zeros((5, 6, 1), np.uint8), np.ones((5, 6, 1), np.uint8)
    columns = ("dice", "recall", "precision", "nsd", "hd95", "hd95_penalised")
    words = {"empty cell": None, "0": 0.0, "the image's diagonal": diagonal(grid)}
    pairs = {
        "neither": (empty, empty),
        "the reference alone": (full, empty),
        "the prediction alone": (empty, full),
    }
    for where, (truth, guess) in pairs.items():
        (line,) = re.findall(rf"^\| {where} \| (.*) \|$", TEXT, re.M)
        (row,) = score(Entry("c", "s"), truth, guess, grid, classes)
        assert [getattr(row, name) for name in columns] == [words[cell] for cell in line.split(" | ")]
