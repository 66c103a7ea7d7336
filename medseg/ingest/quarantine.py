"""Excluded cases and their reasons, as rows of `quarantine.csv` and as lines on the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medseg import files
from medseg.errors import Finding, printable

COLUMNS = ("case", "file", "code", "details", "how_to_fix")

ALIKE = 3
"""Lines of one cause that are shown."""

Row = dict[str, str]


def row(case: str, finding: Finding, file: Path | None = None, root: Path | None = None) -> Row:
    """A case excluded by `finding`; `file` is where the finding says unless given, relative to `root`."""
    where = Path(file or finding.where)
    if root is not None and where.is_relative_to(root):
        where = where.relative_to(root)
    return {
        "case": case,
        "file": str(where),
        "code": str(finding.code),
        "details": finding.details,
        "how_to_fix": finding.how_to_fix,
    }


def line(row: Mapping[str, str]) -> str:
    """A row as the user reads it on the screen."""
    file = printable(row["file"])
    return f"excluded: {row['code']} {file}: {row['details']}; {row['how_to_fix']}"


def lines(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The rows as the user reads them; of many with one code and reason the first ones, and a number."""
    counts = Counter((row["code"], row["details"]) for row in rows)
    said: Counter[tuple[str, str]] = Counter()
    text = []
    for row in rows:
        cause = row["code"], row["details"]
        said[cause] += 1
        if said[cause] <= ALIKE:
            text.append(line(row))
        elif said[cause] == counts[cause]:
            text.append(f"excluded: {row['code']} {further(counts[cause] - ALIKE)}: {row['details']}")
    return text


def further(count: int) -> str:
    """Count the cases whose lines are not shown."""
    return f"{count} further {'case' if count == 1 else 'cases'}"


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write `quarantine.csv`, also without a row."""
    files.write_csv(path, COLUMNS, rows)
