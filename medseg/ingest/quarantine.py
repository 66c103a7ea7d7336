"""What was excluded and why, as rows of `quarantine.csv` and as lines on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medseg import files
from medseg.errors import Finding
from medseg.io.scans import Unit

COLUMNS = ("case", "file", "code", "details", "how_to_fix")

NAMED = 5
"""How many names a line shows before it says how many more there are."""

Row = dict[str, str]


def row(case: str, finding: Finding, file: Path | None = None, root: Path | None = None) -> Row:
    """A case excluded by `finding`; `file` is where the finding says unless given, relative to `root`."""
    where = Path(file or finding.where)
    if root is not None and where.is_relative_to(root):
        where = where.relative_to(root)
    told = {"code": str(finding.code), "details": finding.details, "how_to_fix": finding.how_to_fix}
    return {"case": case, "file": str(where), **told}


def line(row: Mapping[str, str]) -> str:
    """A row as the user reads it on the screen."""
    return f"excluded: {row['code']} {row['file']}: {row['details']}; {row['how_to_fix']}"


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write `quarantine.csv`, also without a row."""
    files.write_csv(path, COLUMNS, rows)


def ignored_line(names: Sequence[str], unit: Unit, known_by: str) -> str:
    """How the user is told of scans (mm) or images (px) that no pattern, list or table (`known_by`) names."""
    one = len(names) == 1
    what = f"{len(names)} {'scan' if unit == 'mm' else 'image'}{'' if one else 's'}"
    be, matching = ("is", "matches") if one else ("are", "match")
    how = {"list": f"{be} on no list", "table": f"{be} in no row of the table"}
    return f"{what} {how.get(known_by, f'{matching} no pattern')}: {some(names)}"


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
