"""Outliers, similar names and sizes of classes, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.grid import Grid
from medseg.ingest.file_facts import Facts
from medseg.ingest.outliers import outliers
from medseg.ingest.similar_names import similar_names
from medseg.ingest.survey import Entry, Survey, by_spacing, class_sizes, spacing_ras

NEAR = [100.0, 103.0, 97.0, 101.0, 99.0, 102.0, 98.0]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([*NEAR, 1000.0], [7]),
        ([10.0, *NEAR], [0]),
        ([*NEAR, 130.0], []),  # far by the spread, near by the ratio
        ([*NEAR, 5000.0, 1000.0], [7, 8]),
        ([5.0] * 9 + [50.0], [9]),
        ([5.0] * 9 + [5.1], []),
        ([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0], []),  # evenly spread over two decades
        ([100.0, 100.0, 100.0, 1000.0], []),  # too few
        ([], []),
    ],
)
def test_outliers(figures: list[float], expected: list[int]) -> None:
    assert outliers(figures) == expected


def test_figures_around_zero_are_compared_by_differences() -> None:
    figures = [-0.02, 0.01, 0.0, 0.03, -0.01, 0.02, 5.0]
    assert outliers(figures, scale=3.0) == [6]
    assert outliers([*figures[:-1], 0.5], scale=3.0) == []


@pytest.mark.parametrize("n", [5, 8, 20, 200])
def test_normal_groups_have_no_outlier(n: int) -> None:
    rng = np.random.default_rng(n)
    assert sum(bool(outliers(np.exp(rng.normal(3, 0.4, n)).tolist())) for _ in range(200)) <= 6


@pytest.mark.parametrize(
    "names",
    [
        ("sub-1", "sub-01", "SUB01", "sub_001", "Sub 1"),
        ("Anna", "anna", "ANNA"),
        ("p01", "p01 (1)", "p01 copy", "P1_copy"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("a-b-2", "ab02"),
    ],
)
def test_similar_names(names: tuple[str, ...]) -> None:
    assert [set(group) for group in similar_names([*names, "other"])] == [set(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("sub-1", "sub-10", "sub-11"),
        ("p1_1", "p11", "p1_11"),
        ("sub-1", "pat-1", "1"),
        ("a1b", "a1c"),
        ("um_000000", "uu_000000"),
        ("1e5", "1e6"),
        ("---", "___"),
        ("copy", "copy2"),
        ("sub-01",) * 3,
    ],
)
def test_names_that_only_look_near(names: tuple[str, ...]) -> None:
    assert similar_names(names) == []


def facts(counts: dict[int, int] | None, affine: object = None) -> Facts:
    grid = Grid((10, 10, 10), np.diag([1.0, 2.0, 5.0, 1.0]) if affine is None else np.asarray(affine))
    return Facts(grid, "RAS", "uint8", 0, 1, 0, 1, 1, None, counts)


def test_sizes_of_classes_follow_the_class_list() -> None:
    classes = ClassList.from_names({0: "background", 1: "a", 4: "b"}, void_values=(255,))
    sizes = class_sizes(facts({0: 900, 4: 50, 9: 30, 255: 20}), classes)
    assert sizes == pytest.approx({"a": 0.0, "b": 0.5})
    assert class_sizes(facts(None), classes) == {}


def test_sizes_of_regions_count_values_in_several_masks() -> None:
    classes = ClassList.of_masks({"whole": (1, 2, 4), "core": (1, 4)}, file_values=(0, 1, 2, 4))
    sizes = class_sizes(facts({0: 10, 1: 100, 2: 200, 4: 300}), classes)
    assert sizes == pytest.approx({"whole": 6.0, "core": 4.0})


def test_the_size_of_a_mask_with_a_file_of_its_own() -> None:
    classes = ClassList.of_masks({"liver": (), "spleen": ()}, void_values=(255,))
    sizes = class_sizes(facts({0: 10, 1: 100, 255: 7}), classes, "spleen")
    assert sizes == pytest.approx({"spleen": 1.0})


def test_spacings_are_compared_along_the_body() -> None:
    turned = [[0, 0, 1, 0], [2, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 1]]
    assert spacing_ras(Grid((2, 2, 2), np.array(turned, float))) == (1.0, 2.0, 5.0)
    near = np.diag([1.004, 2.0, 5.0, 1.0])
    entries = [
        Entry(str(i), "", "", "t1", facts(None, affine)) for i, affine in enumerate([None, turned, near])
    ]
    assert [len(members) for _, members in by_spacing(entries)] == [3]


def test_empty_masks_are_told_where_all_of_a_case_are_empty() -> None:
    classes = ClassList.of_masks({"liver": (), "spleen": ()})

    def mask(case: str, name: str, voxels: int) -> Entry:
        counts = {0: 1000 - voxels, 1: voxels}
        sizes = class_sizes(facts(counts), classes, name)
        return Entry(f"{case}_{name}", case, case, name, facts(counts), is_label=True, sizes=sizes)

    entries = (mask("a", "liver", 5), mask("a", "spleen", 0), mask("b", "liver", 0), mask("b", "spleen", 0))
    survey = Survey(entries, 2, "mm", classes.names)
    kinds = {remark.kind: remark.files for remark in survey.remarks()}
    assert kinds == {"label map empty": ("b_liver",), "class missing": ("spleen",)}


def test_many_equal_remarks_become_one() -> None:
    entries = []
    for i in range(40):
        median = 1000.0 if i < 6 else 100.0 + i
        one = Facts(facts(None).grid, "RAS", "uint8", 0, 2000, 0, median, median, None)
        entries.append(Entry(f"f{i}", f"c{i}", f"s{i}", "t1", one))
    remarks = Survey(tuple(entries), 40, "mm").remarks()
    assert len(remarks) == 1 and set(remarks[0].files) == {f"f{i}" for i in range(6)}
    assert "6 files" in remarks[0].text and remarks[0].median == pytest.approx(125.5)
