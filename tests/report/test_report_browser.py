"""The report in a real browser: its filter, its order by a column, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from medseg.report import html
from tests.helpers.browser import open_browser, open_page, wait
from tests.report.test_html import ROWS, report, row

VALIDATED = replace(row("<b>&", "WM", 0.5, 3.0), role="val")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place = tmp_path_factory.mktemp("report")
    colours = {"GM": (86, 180, 233), "WM": (0, 158, 115)}
    page = report(scores=[*ROWS, VALIDATED], colours=colours, viewers={"good": "cases/good.html"})
    html.write(place / "report.html", page)
    with open_browser() as browser:
        open_page(browser, place / "report.html")
        yield browser


def shown(browser: Any) -> list[tuple[str, str]]:
    """Case and class of the rows that are seen, in their order."""
    script = """return Array.from(document.querySelectorAll("#rows tbody tr")).filter(r => r.offsetHeight)
      .map(r => [r.cells[0].firstChild.textContent.trim(), r.cells[3].textContent.trim()])"""
    return [(case, name) for case, name in browser.execute_script(script)]


def choose(browser: Any, name: str, value: str) -> None:
    script = """const e = document.querySelector(`.filter [name=${arguments[0]}]`); e.value = arguments[1];
      e.dispatchEvent(new Event("input", { bubbles: true }));"""
    browser.execute_script(script, name, value)


FILTERS: list[tuple[dict[str, str], set[tuple[str, str]]]] = [
    ({}, {(r.case, r.class_name) for r in [*ROWS, VALIDATED]}),
    ({"class": "GM"}, {("good", "GM"), ("fair", "GM"), ("lost", "GM")}),
    ({"set": "val"}, {("<b>&", "WM")}),
    ({"case": "OO"}, {("good", "GM"), ("good", "WM")}),
    ({"case": "<B>"}, {("<b>&", "WM")}),
    ({"most": "0.5"}, {("lost", "GM"), ("lost", "WM"), ("<b>&", "WM")}),
    ({"least": "0.8", "class": "WM"}, {("good", "WM")}),
    ({"least": "0.8", "most": "0.9"}, {("fair", "GM")}),
    ({"set": "val", "class": "GM"}, set()),
]


@pytest.mark.parametrize(("chosen", "rows"), FILTERS, ids=lambda value: str(sorted(value)))
def test_the_table_of_cases_is_filtered(
    browser: Any, chosen: dict[str, str], rows: set[tuple[str, str]]
) -> None:
    browser.find_element("css selector", ".filter button").click()
    for name, value in chosen.items():
        choose(browser, name, value)
    assert set(shown(browser)) == rows
    count = "7 rows" if len(rows) == 7 else f"{len(rows)} of 7 rows"
    wait(browser, f"document.querySelector('.filter output').textContent === '{count}'")


def test_a_filtered_table_is_sorted_by_any_score(browser: Any) -> None:
    browser.find_element("css selector", ".filter button").click()
    heads = browser.find_elements("css selector", "#rows th button")
    column = next(k for k, head in enumerate(heads) if head.text.startswith("HD95"))
    metric = browser.find_element("css selector", f".filter [name=metric] option[value='{column}']")
    metric.click()
    choose(browser, "least", "1.2")
    heads[column].click()
    heads[column].click()
    assert shown(browser) == [("<b>&", "WM"), ("fair", "GM"), ("good", "WM")]


def test_classes_have_their_colour_and_cases_a_link_to_their_slices(browser: Any) -> None:
    browser.find_element("css selector", ".filter button").click()
    script = """return Array.from(document.querySelectorAll("#rows tbody tr")).map(
      r => [r.cells[3].textContent.trim(), getComputedStyle(r.querySelector(".swatch")).backgroundColor])"""
    assert dict(browser.execute_script(script)) == {"GM": "rgb(86, 180, 233)", "WM": "rgb(0, 158, 115)"}
    links = browser.find_elements("css selector", "a.view")
    assert {link.get_attribute("href").rpartition("/")[2] for link in links} == {"good.html"}
    assert len(links) == 3  # two rows and the figure


def test_nothing_is_fetched(browser: Any) -> None:
    names = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("data:") for name in names)


def test_a_printed_table_is_as_wide_as_the_paper(browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    size = browser.get_window_size()
    browser.set_window_size(718, 1000)  # A4 between its margins, in CSS pixels
    script = """return Array.from(document.querySelectorAll("table")).filter(t => t.offsetWidth).map(t => {
      const box = t.parentElement;
      return [t.scrollWidth, box.clientWidth, box.scrollHeight - box.clientHeight];
    })"""
    tables = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.set_window_size(size["width"], size["height"])
    assert tables and all(width <= room and below <= 0 for width, room, below in tables)
