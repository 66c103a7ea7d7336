"""`medseg recipes`: the packaged recipes as a table, from their files alone."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from medseg.config.class_file import packaged

_MINUTES = re.compile(r"^# minutes: (\d+)", re.MULTILINE)
_BEFORE_COMMA = re.compile(r"(?:\([^()]*\)|[^,(])*")
_WIDE = 160
"""Columns of a table that is not shown on a terminal."""

_DEFAULT_NETWORK = "usegnet"
"""The network of a recipe that names none; a test compares it with the model of recipes."""


def run(*, as_json: bool) -> None:
    """Print name, data, network and measured minutes of every packaged recipe."""
    rows = table()
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    sys.stdout.write("\n".join(_lines(rows, width)) + "\n")
    sys.stdout.write(
        "\nMinutes were measured on one core; those without a number are for a GPU, or not run in full.\n"
        "medseg show RECIPE prints all of its keys; medseg init DATA writes a recipe for data of your own.\n"
    )


def _lines(rows: Sequence[dict[str, Any]], width: int) -> Iterator[str]:
    """The table; what does not fit into the width is cut from the column of data alone."""
    heads = {"name": "recipe", "data": "data", "network": "network", "minutes": "minutes"}
    cells = [heads, *({key: "" if row[key] is None else str(row[key]) for key in heads} for row in rows)]
    widths = {key: max(len(row[key]) for row in cells) for key in heads}
    others = sum(widths.values()) - widths["data"] + 2 * (len(heads) - 1)
    widths["data"] = max(len(heads["data"]), min(widths["data"], width - others))
    for row in cells:
        data = row["data"]
        if len(data) > widths["data"]:
            data = data[: widths["data"] - 1] + "…"
        name, data = row["name"].ljust(widths["name"]), data.ljust(widths["data"])
        network, minutes = row["network"].ljust(widths["network"]), row["minutes"].rjust(widths["minutes"])
        yield f"{name}  {data}  {network}  {minutes}".rstrip()


def table() -> list[dict[str, Any]]:
    """Describe the packaged recipes by name, data, network, minutes (None: not measured) and description."""
    return [_row(path) for path in sorted(packaged().glob("*.yaml"))]


def _row(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # absent in some builds; ten times as fast
    tree = yaml.load(text, loader)
    description, minutes = str(tree.get("description", "")), _MINUTES.search(text)
    return {
        "name": path.stem,
        "data": "".join(_BEFORE_COMMA.findall(description)[:1]).removesuffix("."),
        "network": str(tree.get("network", {}).get("name", _DEFAULT_NETWORK)),
        "minutes": int(minutes[1]) if minutes else None,
        "description": description,
    }
