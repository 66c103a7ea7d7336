"""Docs that are made from the code are equal to it; links and commands in the docs exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from medseg.config import load
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
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if target.startswith("http"):
            continue
        other = page.parent / target if target else page
        assert other.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(other), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Anchors that a page's headings have where Markdown is shown: lower case, hyphens, no punctuation."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_first() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        reached.add(page)
        linked = re.findall(r"\]\(([\w/.-]+\.md)[#)]", page.read_text())
        todo += [other for link in linked if (other := (page.parent / link).resolve()) not in reached]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_docs_exist(page: Path) -> None:
    from medseg.cli import data, inspection, run, scores, segment  # noqa: F401
    from medseg.cli.app import app

    known = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    for command in re.findall(r"(?:^|`)medseg ([a-z]+)\b", page.read_text(), re.M):
        assert command in known, f"{page.name} names medseg {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_and_modules_that_pages_name_exist(page: Path) -> None:
    folders = "medseg|pipelines|configs|tests|benchmarks|docs"
    new_file = r"(?!:\n\n```python)"  # its text follows: tests/cli/test_extend_page.py writes it
    named = re.findall(rf"`((?:{folders})/[\w/.]*)`{new_file}", page.read_text())
    for path in named:
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_the_page_of_the_architecture_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "\n".join(layers) in (ROOT / "docs/architecture.md").read_text()


def test_the_page_of_the_architecture_names_every_file_on_the_way_of_a_scan() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    files = [
        *(ROOT / "pipelines/commands").glob("segment*.py"),
        *(ROOT / "pipelines/execution").glob("[!_]*.py"),
        *(ROOT / "medseg/io/dicom").glob("[!_]*.py"),
    ]
    assert len(files) > 40
    assert [path.name for path in files if not re.search(rf"[`/]{path.name}`", page)] == []


PRIVATE_WORDS = (
    r"the house|\brooms?\b|verdict|a line each|beside the network|set aside|remed(?:y|ies)",
    r"(?<!--)pictures?|tints?",
    r"margin maps?|<case>_margin|size error|over classes|own grid|says how sure|\| seen \||\bone an? image\b",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages_use_the_words_of_the_field(page: Path) -> None:
    for words in PRIVATE_WORDS:
        assert re.findall(words, page.read_text(), re.IGNORECASE) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_void_is_explained_where_a_page_first_speaks_of_it(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    first = re.search(r"\bvoid\b[^.|;]{0,60}", prose, re.IGNORECASE)
    assert first is None or "ignore" in first[0].lower(), f"{page.name}: {first[0]!r}"


def test_the_guide_to_dicom_says_how_to_fix_every_refusal_of_the_reader() -> None:
    """Codes that the modules of DICOM reading raise stand in the guide's tables."""
    sources = [*(ROOT / "medseg/io/dicom").glob("*.py"), ROOT / "pipelines/commands/segment_series.py"]
    codes = {code for path in sources for code in re.findall(r"Code\.([A-Z_]+)", path.read_text())}
    guide = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("hospital", "hospital-pacs"))
    assert {code for code in codes if f"`{code}`" not in guide} <= ELSEWHERE


ELSEWHERE = {
    *("USAGE", "PATH_MISSING", "EXTRA_MISSING", "FILE_MISSING", "CHANNEL_MISSING"),
    *("INPUT_CHANGED", "SEGMENTS_OVERLAP", "SEG_FRACTIONAL", "GRID_MISMATCH", "VALUES_TOO_LARGE"),
}
"""Codes of commands and of training data, which other pages explain."""


def test_the_settings_of_the_recipe_for_brain_tissue_are_set_as_its_table_says() -> None:
    text = (ROOT / "docs/brain-tissue.md").read_text(encoding="utf-8")
    (base,) = re.findall(r'^BASE="(.*?)"', text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `\$BASE([^`]*)`", text, re.MULTILINE)
    recipes = [load.load("ibsr18_best", f"{base}{more}".replace("--set", " ").split()) for more in rows]
    assert len(recipes) == 4 and {recipe.train.minutes for recipe in recipes} == {4}
    best = load.load("ibsr18_best")
    assert recipes[-1].train.ema == best.train.ema and recipes[-1].predict.flip == best.predict.flip
    assert recipes[0].train.ema is None and not recipes[0].predict.flip
