"""The layout `csv`: a table names each case's files, and perhaps its subject and role.

Columns: `case` (the image's file name without suffix if absent), `image`, `label`, `subject` (the case if
absent), `role` (train, val, test). Several channels stand in columns of their own, which the recipe names.

Paths are relative to the root. One of another machine is understood by its last parts, two of them at least,
folder and name (the root's own folder counts), where they are those of a single file.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.ingest import quarantine
from medseg.ingest.imagesets import COLOURS
from medseg.ingest.patterns import ROLES, CaseFiles, Found, Patterns, Stray, files_under, natural_key
from medseg.io import scans

_Row = Mapping[str, str]
_Place = Callable[[str], Path]
"""From a cell to the path that it means."""


def find(
    root: Path,
    table: str,
    channels: Mapping[str, str] | None = None,
    label: str | None = None,
    without: Path | None = None,
) -> Found:
    """The cases of the CSV file ``table``; it and the paths in it are relative to ``root``.

    ``channels`` maps a channel to its column, ``label`` is the label's column. Without channels a picture's
    are red, green and blue of the column `image`, a scan's is `image`. Raises PATH_MISSING, FILE_UNREADABLE,
    RECIPE_INVALID (columns, roles), NOTHING_USABLE (no row).
    """
    rows = _read(root / table)
    patterns = Patterns(channels or {"image": "image"}, label or ("label" if "label" in rows[0] else None))
    _check_columns(root / table, rows[0], [*patterns.channels.values(), *([label] if label else [])])
    roles = _roles(root / table, rows, patterns)
    unit: scans.Unit = scans.detect_kind(Path(rows[0][_first(patterns)])) or "mm"
    if unit == "px" and not channels:
        patterns = replace(patterns, channels=dict.fromkeys(COLOURS, "image"))
    everything = files_under(root, without)
    place = _places(root, everything)
    claims: dict[str, list[CaseFiles]] = {}
    for row in rows:
        case = _case(place, row, patterns)
        claims.setdefault(case.name, []).append(case)
    settled = [_settle(root / table, claims[name]) for name in sorted(claims, key=natural_key)]
    cases = [each for each in settled if isinstance(each, CaseFiles)]
    strays = [each for each in settled if isinstance(each, Stray)]
    taken = {path for held in claims.values() for case in held for path in _files(case)}
    tree = [root / path for path in everything if scans.detect_kind(Path(path)) == unit]
    ignored = [path for path in tree if path not in taken and path.parent not in taken]
    return Found(cases, strays, "csv", patterns, ignored, roles, unit, "table")


def _roles(table: Path, rows: Sequence[_Row], patterns: Patterns) -> tuple[tuple[str, str], ...]:
    """(case, role) of the rows that give one, in any case of letters; RECIPE_INVALID for other words."""
    words = [row.get("role", "").strip().lower() for row in rows]
    if unknown := [n for n, word in enumerate(words) if word and word not in ROLES]:
        named = [f"row {n + 1} ({_name(rows[n], patterns)}): {rows[n]['role']!r}" for n in unknown]
        how_to_fix = f"leave the cell empty or write one of {', '.join(ROLES)}"
        raise MedsegError(Code.RECIPE_INVALID, f"{table}: role", quarantine.some(named), how_to_fix)
    given = {(_name(row, patterns), ROLES[word]) for row, word in zip(rows, words, strict=True) if word}
    return tuple(sorted(given))


def _places(root: Path, everything: Sequence[str]) -> _Place:
    """How the cells are understood, given all files below ``root``; what is absent stays as it is written."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    below = [Path(path) for path in everything]
    folders = (folder for path in below for folder in path.parents[:-1])
    for path in dict.fromkeys([*below, *folders]):
        by_name[path.name].append(path)

    def place(cell: str) -> Path:
        forms = dict.fromkeys((cell, cell.replace("\\", "/")))
        if there := next((root / form for form in forms if (root / form).exists()), None):
            return there
        parts = Path(cell.replace("\\", "/")).parts
        shared = {path: _shared(parts, (root.resolve().name, *path.parts)) for path in by_name[parts[-1]]}
        most = max(shared.values(), default=0)
        nearest = [path for path, count in shared.items() if count == most]
        return root / nearest[0] if most > 1 and len(nearest) == 1 else root / cell

    return place


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two paths share, counted from their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _check_columns(path: Path, row: _Row, wanted: Sequence[str]) -> None:
    if absent := [column for column in wanted if column not in row]:
        found = f"no column {', '.join(absent)} beside {', '.join(row)}"
        raise MedsegError(Code.RECIPE_INVALID, path, found, "correct data.channels, data.label or the table")


def _settle(table: Path, rows: Sequence[CaseFiles]) -> CaseFiles | Stray:
    """The case of a name's rows, or why they are none."""
    case = rows[0]
    paths = [path for each in rows for path in _files(each)]
    held = tuple(dict.fromkeys(path for path in paths if path.exists()))
    if len(rows) > 1:
        found = f"{len(rows)} rows of case {case.name}"
        return Stray(Code.DUPLICATE_CASE, str(table), found, "give each case one row", case.name, held)
    if absent := [path for path in paths if not path.exists()]:
        how_to_fix = "correct the table, or copy the file"
        return Stray(
            Code.FILE_MISSING, str(absent[0]), f"listed in {table.name}", how_to_fix, case.name, held
        )
    return case


def _read(path: Path) -> list[_Row]:
    """The rows, empty cells as empty texts."""
    try:
        rows = files.read_csv(path)
    except FileNotFoundError as error:
        raise MedsegError(Code.PATH_MISSING, path, "no such table", "correct data.table") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedsegError(Code.FILE_UNREADABLE, path, str(error), "give a CSV file in UTF-8") from error
    if not rows:
        raise MedsegError(Code.NOTHING_USABLE, path, "no row", "give a row a case")
    return [{key: value or "" for key, value in row.items() if key} for row in rows]


def _case(place: _Place, row: _Row, patterns: Patterns) -> CaseFiles:
    name = _name(row, patterns)
    channels = {channel: place(row[column]) for channel, column in patterns.channels.items()}
    label = row.get(patterns.label, "") if patterns.label else ""
    return CaseFiles(name, row.get("subject") or name, channels, place(label) if label else None)


def _name(row: _Row, patterns: Patterns) -> str:
    return row.get("case") or scans.stem(Path(row[_first(patterns)].replace("\\", "/")))


def _first(patterns: Patterns) -> str:
    """The column of the first channel."""
    return next(iter(patterns.channels.values()))


def _files(case: CaseFiles) -> tuple[Path, ...]:
    label = [] if case.label is None else [case.label]
    return tuple(dict.fromkeys([*case.channels.values(), *label]))
