"""Docs that are made from the code are equal to it; links and commands in the docs exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medseg.errors import MEANING, NOTES, Code

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def codes_page() -> str:
    """docs/codes.md, from the table of codes."""
    lines = ["# Codes", "", "Made from `medseg/errors.py`; `tests/cli/test_docs.py` keeps both equal.", ""]
    parts = (
        ("A case is used, with a note", [c for c in Code if c in NOTES]),
        ("A case is set aside, or the command ends", [c for c in Code if c not in NOTES]),
    )
    for title, codes in parts:
        lines += [f"## {title}", "| code | meaning |", "| --- | --- |"]
        lines += [f"| `{code}` | {MEANING[code]} |" for code in codes]
        lines.append("")
    return "\n".join(lines)


def test_the_page_of_codes_is_the_table_of_codes() -> None:
    page = ROOT / "docs" / "codes.md"
    assert page.read_text() == codes_page(), "write codes_page() to docs/codes.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_and_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_docs_exist(page: Path) -> None:
    from medseg.cli import folders, look, run, scores, segment  # noqa: F401
    from medseg.cli.app import app

    known = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    for command in re.findall(r"(?:^|`)medseg ([a-z]+)\b", page.read_text(), re.M):
        assert command in known, f"{page.name} names medseg {command}"
