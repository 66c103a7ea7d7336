"""`medseg models`: the models that ship with medseg, from their files alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.grid import NOUNS
from medseg.model import folder as model_folder
from medseg.model import packaged


def run(*, as_json: bool) -> None:
    """Print name, classes, conventions, inputs and size of every packaged model."""
    rows = [describe(name) for name in packaged.names()]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    lines = [line for row in rows for line in _lines(row)] or ["no model ships with this medseg"]
    sys.stdout.write("\n".join(lines) + "\n")


def describe(name: str) -> dict[str, Any]:
    """Describe a packaged model in plain values; `classes` maps label values to names."""
    folder = packaged.MODELS / name
    model = model_folder.read(folder)
    scans = f"{', '.join(model.description.channels)} {NOUNS[model.description.unit]}s"
    stripped = (model.description.domain or {}).get("skull_stripped")
    return {
        "name": name,
        "folder": str(folder),
        "inputs": f"{scans} of skull-stripped brains" if stripped else scans,
        "classes": _classes(folder),
        "conventions": {name: _classes(folder / name) for name in packaged.conventions(folder)},
        "joined": {name: _joined(folder, folder / name) for name in packaged.conventions(folder)},
        "parameters": model.parameters,
        "bytes": sum((folder / member.file).stat().st_size for member in model.members),
        "default": name == packaged.DEFAULT,
    }


def words(folder: Path) -> str:
    """A model that is used because none was named, in a line."""
    description = model_folder.read(folder).description
    classes = ", ".join(f"{value} {name}" for value, name in _classes(folder).items())
    return f"{description.name}, trained on synthetic brains alone; it labels {classes} (medseg models)"


def _classes(folder: Path) -> dict[int, str]:
    """Label values and names of the foreground."""
    classes = model_folder.read(folder).description.class_list()
    return {c.value: c.name for c in classes.classes[int(classes.background) :]}


def _joined(folder: Path, convention: Path) -> dict[str, list[str]]:
    """The model's own classes that each class of a convention holds, where these are others than its name."""
    own, description = _classes(folder), model_folder.read(convention).description
    of_class: dict[str, list[str]] = {}
    for output, index in enumerate(description.outputs):
        if index and output in own:
            of_class.setdefault(description.classes[index]["name"], []).append(own[output])
    return {name: parts for name, parts in of_class.items() if parts != [name]}


def _lines(row: dict[str, Any]) -> Iterator[str]:
    default = ", the default of `medseg segment`" if row["default"] else ""
    yield f"{row['name']}: {row['parameters']:,} parameters, {row['bytes'] / 1e6:.1f} MB{default}"
    yield f"  {'inputs':<24}{row['inputs']}"
    for option, classes in [("classes", row["classes"]), *row["conventions"].items()]:
        name = option if option == "classes" else f"--convention {option}"
        joined = row["joined"].get(option, {})
        nouns = [
            f"{value} {noun}" + (f" ({' and '.join(joined[noun])})" if noun in joined else "")
            for value, noun in classes.items()
        ]
        yield f"  {name:<24}{', '.join(nouns)}"
    yield f"  {'how it was made':<24}{Path(row['folder']) / 'card.md'}"
