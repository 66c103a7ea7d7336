"""Docs that are made from the code are equal to it; links and commands in the docs exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medseg.config.reference import codes_page, recipe_page

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
REGENERATE = "run `python -m medseg.config.reference`"


def test_the_page_of_recipe_keys_is_the_models() -> None:
    page = ROOT / "docs" / "recipe.md"
    assert page.read_text() == recipe_page(), REGENERATE


def test_the_page_of_codes_is_the_table_of_codes() -> None:
    page = ROOT / "docs" / "codes.md"
    assert page.read_text() == codes_page(), REGENERATE


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_and_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_docs_exist(page: Path) -> None:
    from medseg.cli import data, inspection, run, scores, segment  # noqa: F401
    from medseg.cli.app import app

    known = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    for command in re.findall(r"(?:^|`)medseg ([a-z]+)\b", page.read_text(), re.M):
        assert command in known, f"{page.name} names medseg {command}"
