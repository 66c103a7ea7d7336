from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from medseg.metrics.table import ScoreRow
from medseg.report import charts
from tests.helpers.svg import is_chart, texts


def row(class_name: str, dice: float | None) -> ScoreRow:
    return ScoreRow(
        fold=0,
        case="a",
        subject="a",
        role="test",
        class_name=class_name,
        dice=dice,
        iou=dice,
        precision=dice,
        recall=dice,
        hd95=None,
        assd=None,
        nsd=dice,
        length_unit="mm",
        size=1.0,
        reference_size=1.0,
        size_unit="ml",
        size_error_percent=None if dice is None else 100 * (dice - 1),
    )


@pytest.mark.parametrize(
    ("metric", "unit", "text"),
    [
        ("dice", "mm", "Dice"),
        ("hd95", "mm", "HD95 (mm)"),
        ("assd_penalised", "px", "ASSD with penalty (px)"),
        ("size_error_percent", "mm", "relative volume difference (%)"),
        ("size_error_percent", "px", "relative area difference (%)"),
    ],
)
def test_headings_have_the_field_s_words_and_units(metric, unit, text):
    assert charts.heading(metric, unit) == text


def test_box_plots_leave_out_what_is_undefined():
    rows = [row("GM", 0.9), row("GM", 0.8), row("WM", None), row("CSF", 0.7)]
    assert is_chart(charts.box_plots(rows, colours={"GM": (86, 180, 233)}))
    assert charts.box_plots(rows) == charts.box_plots(rows)


@pytest.mark.parametrize("count", [1, 41, pytest.param(150, marks=pytest.mark.long)])
def test_class_bars_of_short_and_long_lists(count):
    values = {f"class {i}": i / count for i in range(count)} | {"nowhere": None}
    assert is_chart(charts.class_bars(values, dict.fromkeys(values, (128, 64, 0))), most=400_000)


@pytest.mark.parametrize("count", [11, 21, 31, pytest.param(150, marks=pytest.mark.long)])
def test_a_confusion_figure_stays_within_a_page_and_its_names_apart(count):
    matrix = np.random.default_rng(count).integers(0, 9, (count, count))
    matrix[1] = 0
    svg = charts.confusion_figure(matrix, [f"class {i}" for i in range(count)])
    assert is_chart(svg, most=400_000)
    width, height = (
        float(ElementTree.fromstring(svg).attrib[side][:-2]) / 72 for side in ("width", "height")
    )
    assert width < 10.2 or width / count < 0.12
    assert height / count > 0.08  # inches a row


def test_confusion_figure_with_an_empty_row():
    assert is_chart(charts.confusion_figure(np.array([[9, 1], [0, 0]]), ("background", "GM")))


GREEN = {"GM": (0, 158, 115)}


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_a_box_is_drawn_from_five_cases_on_and_points_always(count):
    rows = [row("GM", 0.9 - k / 100) for k in range(count)]
    svg = charts.box_plots(rows, ("dice",), GREEN).decode()
    assert ("opacity: 0.35" in svg) == (count >= 5)
    assert svg.count("fill: #009e73; stroke") == count


def test_a_point_for_each_case_and_class_stands_at_its_sizes():
    sizes = {"GM": (700.0, 690.0), "CSF": (90.0, 120.0), "lost": (10.0, None)}
    rows = [replace(row(n, 0.5), reference_size=true, size=size) for n, (true, size) in sizes.items()]
    svg = charts.volume_scatter(rows, GREEN | {"CSF": (230, 159, 0)})
    assert is_chart(svg)
    assert {"true volume (ml)", "predicted volume (ml)", "GM", "CSF"} <= set(texts(svg))
    marks = [
        e
        for e in ElementTree.fromstring(svg).iter()
        if e.tag.endswith("}use") and "#009e73" in e.get("style", "")
    ]
    dots = [
        e
        for e in ElementTree.fromstring(svg).iter()
        if e.tag.endswith("}use") and "#e69f00" in e.get("style", "")
    ]
    assert float(marks[0].get("x")) > float(dots[0].get("x")) and float(marks[0].get("y")) < float(
        dots[0].get("y")
    )
    areas = charts.volume_scatter([replace(r, length_unit="px", size_unit="px") for r in rows])
    assert "true area (px)" in texts(areas)


@pytest.mark.parametrize("smallest", [0.0, 0.001, 5.0])
def test_sizes_of_every_order_fit_one_chart(smallest):
    rows = [
        replace(row("GM", 0.5), reference_size=t, size=s) for t, s in ((1400.0, 1500.0), (smallest, smallest))
    ]
    assert is_chart(charts.volume_scatter(rows))
    assert is_chart(charts.volume_scatter([]))


def test_the_rank_correlation_is_told_from_five_cases_on():
    scores = {f"c{k}": 0.5 + k / 20 for k in range(6)}
    quality = {name: 0.9 + value / 20 for name, value in scores.items() if name != "c0"}
    words = texts(charts.confidence_scatter(quality, scores, "Dice"))
    assert "Spearman's rank correlation 1.00, n = 5" in words and "mean Dice of the case" in words
    few = texts(charts.confidence_scatter(dict(list(quality.items())[:4]), scores, "Dice"))
    assert not any("rank" in text for text in few)
    same = texts(charts.confidence_scatter(dict.fromkeys(scores, 0.5), scores, "Dice"))
    assert not any("rank" in text for text in same)


HOSTILE = ["$a_b", "$\\frac{$", "a$x$", "<script>", "a & b", "-->"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stand_in_charts_as_they_are(name):
    matrix = np.array([[9, 1], [2, 8]])
    rows = [row(name, 0.9), row("b", 0.8)]
    for svg in (
        charts.box_plots(rows),
        charts.volume_scatter(rows),
        charts.class_bars({name: 0.5}, {name: (1, 2, 3)}),
        charts.confusion_figure(matrix, (name, "b")),
    ):
        assert name in texts(svg)
