"""The code says things plainly: openings of docstrings, names of variables, sizes of files and classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("medseg", "pipelines") for path in (ROOT / folder).rglob("*.py"))
OPENINGS = re.compile(r"(What|Whether|How|Where|Why|Which|Who|Whose|When|Not|Never|Only|Nothing|Of)\b")
PRIVATE = {"told", "held", "found", "made", "about", "how", "aside", "begun", "drawer", "ready", "wish"}
MOST_LINES = 400
MOST_METHODS = 12


def documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "name", "the module"), ast.get_docstring(node) or ""


def names(tree: ast.Module) -> Iterator[str]:
    """Names of variables, parameters, attributes and functions that a file gives."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_reads_plainly(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [(name, text.splitlines()[0]) for name, text in documented(tree) if OPENINGS.match(text)] == []
    assert PRIVATE.intersection(names(tree)) == set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef) and not is_property(n)]
            assert len(methods) <= MOST_METHODS, f"{node.name} has the methods {methods}"


def is_property(function: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list)


def test_no_file_is_long() -> None:
    sources = [path for folder in ("benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    lengths = {path: len(path.read_text().splitlines()) for path in (*FILES, *sources)}
    assert {str(path): length for path, length in lengths.items() if length > MOST_LINES} == {}
