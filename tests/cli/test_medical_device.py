"""Tests that pages name exist; requirements, risks and packages of docs/medical-device.md are whole."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

from tests.helpers import soup

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
DEVICE = soup.PAGE.read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its two first lines."""
    section = re.split(rf"^## {re.escape(heading)}$", page, flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    for path, name in TEST.findall(page.read_text()):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
        assert name in functions(ROOT / path), f"{page.name} names {path}::{name}"


def test_requirements_are_numbered_and_have_tests() -> None:
    table = rows(DEVICE, "Requirements, and the tests that prove them")
    assert [row[0] for row in table] == [f"R{number}" for number in range(1, len(table) + 1)]
    assert [row[0] for row in table if len(row) != 3 or not TEST.search(row[2])] == []


def test_each_risk_is_controlled_by_requirements_and_each_requirement_controls_one() -> None:
    known = {row[0] for row in rows(DEVICE, "Requirements, and the tests that prove them")}
    controls = [re.findall(r"R\d+", row[2]) for row in rows(DEVICE, "Risk control")]
    assert all(controls)
    assert {number for numbers in controls for number in numbers} == known


@pytest.mark.parametrize(
    ("page", "heading", "column"), [("hostile-input", "Threats", 3), ("hospital", "What leaves the box", 2)]
)
def test_each_threat_has_a_test_of_its_own(page: str, heading: str, column: int) -> None:
    table = rows((ROOT / f"docs/{page}.md").read_text(), heading)
    assert len(table) > 10
    assert [row[0] for row in table if not TEST.search(row[column])] == []


def test_the_list_of_third_party_packages_is_the_projects() -> None:
    assert soup.page_with_list() == DEVICE, "run `python -m tests.helpers.soup`"
    names = {name for name, _ in soup.dependencies()}
    assert {"torch", "numpy", "pydicom"} < names
    assert set(soup.USES) == names


def test_tests_that_verify_a_package_exist() -> None:
    named = {test for use in soup.USES.values() for test in use.tests}
    assert {test for test in named if not (ROOT / "tests" / test).exists()} == set()


@pytest.mark.parametrize("name", soup.USES)
def test_a_licence_is_that_which_the_package_states(name: str) -> None:
    try:
        stated = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    classifiers = [text for text in stated.get_all("Classifier") or [] if text.startswith("License")]
    text = " ".join(
        [stated.get("License-Expression") or "", (stated.get("License") or "")[:2000], *classifiers]
    )
    family = re.split(r"[-\s,]", soup.USES[name].licence)[0]
    words = {"BSD": "BSD|Redistribution and use", "its": "License agreement for matplotlib"}
    assert re.search(words.get(family, family), text), f"{name}: {text[:80]}"
