"""Imports of the code go down: no file imports another that leads back to it, not for types either."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules(root: Path) -> dict[str, Path]:
    """Module name → file of the packages."""
    found = {}
    for package in ("medseg", "pipelines"):
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules that a file imports anywhere in it; `from package import module` is the module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            names_left = len(below) < len(node.names)
            yield from below
            if names_left and node.module in known:
                yield node.module


def require_no_circle(root: Path) -> None:
    """Raise CycleError if files import each other in a circle."""
    known = modules(root)
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    TopologicalSorter(graph).prepare()


def test_no_imports_go_in_a_circle() -> None:
    require_no_circle(ROOT)


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "medseg").mkdir()
    (tmp_path / "medseg/a.py").write_text("from medseg.b import f\n")
    (tmp_path / "medseg/b.py").write_text("if TYPE_CHECKING:\n    from medseg import a\n")
    with pytest.raises(CycleError):
        require_no_circle(tmp_path)
