"""`import medseg`: quick, with the same public names for people, editors and type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medseg

ROOT = Path(__file__).parents[2]


def run_python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_medseg_imports_nothing_heavy() -> None:
    script = "import sys; old = set(sys.modules); import medseg; print(sorted(set(sys.modules) - old))"
    new = set(ast.literal_eval(run_python(script)))
    assert not new & {"torch", "numpy", "nibabel", "pydantic", "scipy", "medseg.api", "medseg.errors"}


def test_segmenting_imports_no_package_of_training() -> None:
    script = "import sys, medseg; medseg.segment; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    new = set(ast.literal_eval(run_python(script)))
    assert not new & {"mlflow", "monai", "lightning_fabric", "matplotlib", "jinja2", "nilearn", "skimage"}


def test_functions_stay_functions_after_all_is_imported() -> None:
    script = (
        "import medseg, pkgutil, importlib\n"
        "medseg.run, medseg.evaluate, medseg.segment\n"
        "import medseg.metrics.table, pipelines.run, medseg.infer.segment\n"
        "print(all(callable(getattr(medseg, name)) for name in medseg.__all__ if name != '__version__'))"
    )
    assert run_python(script) == "True"
    below = {path.stem for path in (ROOT / "medseg").iterdir()}
    assert not below & set(medseg.__all__)  # a module would take the function's place when it is imported


def test_the_stub_names_what_the_package_offers() -> None:
    tree = ast.parse((ROOT / "medseg/__init__.pyi").read_text())
    stub = {
        alias.asname: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stub == medseg._PLACES  # type: ignore[attr-defined]
    assert set(dir(medseg)) >= set(medseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'segmentt'"):
        medseg.segmentt  # type: ignore[attr-defined] # noqa: B018
