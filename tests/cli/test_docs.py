"""Docs that are made from the code are equal to it; links and commands in the docs exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medseg.config.recipe import Recipe
from medseg.errors import MEANING, NOTES, Code

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def codes_page() -> str:
    """docs/codes.md, from the table of codes."""
    lines = ["# Codes", "", "Made from `medseg/errors.py`; `tests/cli/test_docs.py` keeps both equal.", ""]
    parts = (
        ("A case is used, with a note", [c for c in Code if c in NOTES]),
        ("A case is excluded, or the command ends", [c for c in Code if c not in NOTES]),
    )
    for title, codes in parts:
        lines += [f"## {title}", "| code | meaning |", "| --- | --- |"]
        lines += [f"| `{code}` | {MEANING[code]} |" for code in codes]
        lines.append("")
    return "\n".join(lines)


def recipe_page() -> str:
    """docs/recipe.md, from the models of a recipe."""
    lines = [
        "# Keys of a recipe",
        "",
        "Made from `medseg/config/`; `tests/cli/test_docs.py` keeps both equal. A key left out has",
        "its default; an unknown key is refused. `--set section.key=value` overrides any of them.",
        "",
    ]
    return "\n".join(lines + _section("", Recipe)).rstrip() + "\n"


def _section(name: str, model: type[BaseModel]) -> list[str]:
    lines = [f"## {name or 'top level'}", "", inspect.cleandoc(model.__doc__ or ""), ""]
    lines += ["| key | type | default |", "| --- | --- | --- |"]
    below: list[str] = []
    for key, field in model.model_fields.items():
        parts = [a for a in (field.annotation, *get_args(field.annotation)) if _is_section(a)]
        kind = "section, below" if parts else _type(field.annotation)
        lines.append(f"| `{key}` | {kind} | {_default(field, is_section=bool(parts))} |")
        for part in parts:
            below += _section(f"{name}.{key}".lstrip("."), part)
    return [*lines, "", *below]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _type(annotation: Any) -> str:
    """A type as people read it: `axial or coronal or sagittal`, `int`, `list of str`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join("nothing" if a is type(None) else _type(a) for a in arguments)
    if origin is tuple:
        kinds = [_type(a) for a in arguments if a is not Ellipsis]
        return f"list of {kinds[0]}" if Ellipsis in arguments else f"list of {len(kinds)} {kinds[0]}"
    if origin is dict:
        return f"{_type(arguments[0])}: {_type(arguments[1])}"
    return {"Any": "any", "Path": "path"}.get(annotation.__name__, annotation.__name__)


def _default(field: FieldInfo, *, is_section: bool) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "nothing"
    return "" if is_section or value == "" else f"`{list(value) if isinstance(value, tuple) else value}`"


def test_the_page_of_recipe_keys_is_the_models() -> None:
    page = ROOT / "docs" / "recipe.md"
    assert page.read_text() == recipe_page(), "write recipe_page() to docs/recipe.md"


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
    from medseg.cli import data, inspection, run, scores, segment  # noqa: F401
    from medseg.cli.app import app

    known = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    for command in re.findall(r"(?:^|`)medseg ([a-z]+)\b", page.read_text(), re.M):
        assert command in known, f"{page.name} names medseg {command}"
