"""Notebooks without a server: run their cells in order, and keep what they print and show.

python -m tests.helpers.notebooks docs/tour.ipynb      # executes it in an empty folder, and saves it
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def execute(notebook: dict[str, Any], parameters: str | None = None) -> dict[str, Any]:
    """Run the code cells in the current folder and fill in their outputs; gives the variables.

    `parameters` replaces the source of the cell with the tag `parameters`.
    """
    variables: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        source = "".join(cell["source"])
        if parameters is not None and "parameters" in cell["metadata"].get("tags", ()):
            source = parameters
        cell["execution_count"] = number
        cell["outputs"] = _run(source, variables, number)
    return variables


def _run(source: str, variables: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source, f"cell {number}")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(tree, f"cell {number}", "exec"), variables)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), variables)  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if stream.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(stream.getvalue())})
    if value is not None:
        shown = {"output_type": "execute_result", "execution_count": number, "metadata": {}}
        outputs.append({**shown, "data": _data(value)})
    return outputs


def _data(value: Any) -> Mapping[str, Any]:
    data: dict[str, Any] = {"text/plain": _lines(repr(value))}
    if hasattr(value, "_repr_png_") and (png := value._repr_png_()):
        data["image/png"] = base64.b64encode(png).decode()
    return data


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    path = Path(sys.argv[1]).absolute()
    notebook = read(path)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        execute(notebook)
        os.chdir(path.parent)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
