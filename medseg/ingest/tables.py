"""The layout `csv`: a table names each case's files, and perhaps its subject and role.

Columns: `case` (the image's file name without suffix if absent), `image`, `label`, `subject` (the case if
absent), `role` (train, val, test). Several channels stand in columns of their own, which the recipe names.

Paths are relative to the root and stay below it; a file elsewhere is named by its absolute path. A path of
another machine is understood by its last parts, two of them at least, folder and name (the root's own folder
counts), where they are those of a single file.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from medseg import files
from medseg.errors import Code, Finding, MedsegError, some
from medseg.ingest.imagesets import COLOURS
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.patterns import CaseFiles, FolderContents, Patterns, Stray
from medseg.ingest.tree import files_under, natural_key, nfc, sorted_tree, without_suffix
from medseg.io import scans
from medseg.limits import MAX_TABLE_BYTES
from medseg.names import check_name

_Row = Mapping[str, str]
_Locate = Callable[[str], Path]
"""From a cell to the path that it means."""


def find(
    root: Path,
    table: str,
    channels: Mapping[str, str] | None = None,
    label: str | None = None,
    without: Path | Collection[Path] | None = None,
) -> FolderContents:
    """Find the cases of the CSV file ``table``; it and the paths in it are relative to ``root``.

    ``channels`` maps a channel to its column, ``label`` is the label's column. Without channels an image's
    are red, green and blue of the column `image`, a scan's is `image`. Strays: DUPLICATE_CASE, FILE_MISSING,
    NAME_INVALID (a case's name that cannot be a file's, a relative path that leads out of ``root``). Raises
    PATH_MISSING, FILE_UNREADABLE, RECIPE_INVALID (columns, roles), NOTHING_USABLE (no row).
    """
    rows = _read(root / table)
    patterns = Patterns(channels or {"image": "image"}, label or ("label" if "label" in rows[0] else None))
    _check_columns(root / table, rows[0], [*patterns.channels.values(), *([label] if label else [])])
    roles = _roles(root / table, rows, patterns)
    kinds = (scans.detect_kind(Path(row[_first(patterns)])) for row in rows)
    unit: scans.Unit = next((kind for kind in kinds if kind), "mm")
    if unit == "px" and not channels:
        patterns = replace(patterns, channels=dict.fromkeys(COLOURS, "image"))
    everything = files_under(root, without)
    locate = _locator(root, everything)
    by_name: dict[str, list[tuple[CaseFiles, Finding | None]]] = defaultdict(list)
    for row in rows:
        case = _case(locate, row, patterns)
        by_name[case.name].append((case, _fault(root, root / table, row, patterns, case)))
    settled = [_settle(root / table, by_name[name]) for name in sorted(by_name, key=natural_key)]
    named = {path for cases in by_name.values() for case, _ in cases for path in case.paths()}
    tree = sorted_tree(root, everything, unit)
    ignored, unread = (
        [root / p for p in paths if root / p not in named and (root / p).parent not in named]
        for paths in (tree.files, tree.unread)
    )
    return FolderContents(
        [case for case in settled if isinstance(case, CaseFiles)],
        [stray for stray in settled if isinstance(stray, Stray)],
        "csv",
        patterns,
        ignored,
        roles,
        unit,
        "table",
        unread,
        [path for path in tree.others if root / path != root / table],
    )


def _roles(table: Path, rows: Sequence[_Row], patterns: Patterns) -> tuple[tuple[str, str], ...]:
    """(case, role) of the rows that give one, in any case of letters; RECIPE_INVALID for other words."""
    words = [row.get("role", "").strip().lower() for row in rows]
    if unknown := [n for n, word in enumerate(words) if word and word not in ROLES]:
        named = [f"row {n + 1} ({_name(rows[n], patterns)}): {rows[n]['role']!r}" for n in unknown]
        how_to_fix = f"leave the cell empty or write one of {', '.join(filter(str.islower, ROLES))}"
        raise MedsegError(Code.RECIPE_INVALID, f"{table}: role", some(named), how_to_fix)
    given = {(_name(row, patterns), ROLES[word]) for row, word in zip(rows, words, strict=True) if word}
    return tuple(sorted(given))


def _locator(root: Path, everything: Sequence[str]) -> _Locate:
    """The function that understands cells, given all files below ``root``; absent paths stay as written."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    below = [Path(path) for path in everything]
    folders = (folder for path in below for folder in path.parents[:-1])
    for path in dict.fromkeys([*below, *folders]):
        by_name[nfc(path.name)].append(path)

    def locate(cell: str) -> Path:
        forms = dict.fromkeys((cell, cell.replace("\\", "/")))
        if there := next((root / form for form in forms if files.exists(root / form)), None):
            there = Path(os.path.normpath(there)) if ".." in there.parts else there
            return (
                root / there.relative_to(root.absolute()) if there.is_relative_to(root.absolute()) else there
            )
        parts = Path(nfc(cell.replace("\\", "/"))).parts or ("",)
        shared = {
            path: _shared(parts, [nfc(part) for part in (root.resolve().name, *path.parts)])
            for path in by_name[parts[-1]]
        }
        most = max(shared.values(), default=0)
        nearest = [path for path, count in shared.items() if count == most]
        return root / nearest[0] if most > 1 and len(nearest) == 1 else root / cell

    return locate


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the parts that two paths share, from their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _check_columns(path: Path, row: _Row, columns: Sequence[str]) -> None:
    if absent := [column for column in columns if column not in row]:
        details = f"no column {', '.join(absent)} beside {', '.join(row)}"
        raise MedsegError(
            Code.RECIPE_INVALID, path, details, "correct data.channels, data.label or the table"
        )


def _fault(root: Path, table: Path, row: _Row, patterns: Patterns, case: CaseFiles) -> Finding | None:
    """The first thing wrong with a row's cells, or None."""
    try:
        check_name(case.name, table)
    except MedsegError as error:
        return replace(error.finding, how_to_fix="write another name into the column case")
    if empty := [column for column in patterns.channels.values() if not row[column]]:
        return Finding(Code.FILE_MISSING, str(table), f"no {empty[0]}", "fill the cell, or take the row out")
    columns = [*patterns.channels.values(), *([patterns.label] if row.get(patterns.label or "") else [])]
    for column, path in zip(columns, [*case.channels.values(), *case.label_paths], strict=True):
        cell = row[column or ""]
        is_absolute = Path(cell).is_absolute() or PureWindowsPath(cell).is_absolute()
        if not is_absolute and not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(root)):
            details = f"{column}: the path {cell!r} leads out of the data folder"
            how_to_fix = "copy the file into the folder, or write its absolute path"
            return Finding(Code.NAME_INVALID, str(table), details, how_to_fix)
        if not files.exists(path):
            how_to_fix = "correct the table, or copy the file"
            return Finding(Code.FILE_MISSING, str(path), f"listed in {table.name}", how_to_fix)
    return None


def _settle(table: Path, rows: Sequence[tuple[CaseFiles, Finding | None]]) -> CaseFiles | Stray:
    """The case of a name's rows, or why they are none."""
    case, fault = rows[0]
    if len(rows) > 1:
        details = f"{len(rows)} rows of case {case.name}"
        how_to_fix = "give each row a name of its own in the column case"
        fault = Finding(Code.DUPLICATE_CASE, str(table), details, how_to_fix)
    if fault is None:
        return case
    paths = sorted({path for other, _ in rows for path in other.paths() if files.exists(path)})
    return Stray(fault.code, fault.where, fault.details, fault.how_to_fix, case.name, tuple(paths))


def _read(path: Path) -> list[_Row]:
    """The rows, empty cells as empty texts."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            how_to_fix = "split the table"
            raise MedsegError(Code.TOO_LARGE, path, f"more than {MAX_TABLE_BYTES // 2**20} MiB", how_to_fix)
        rows = files.read_csv(path)
    except FileNotFoundError as error:
        raise MedsegError(Code.PATH_MISSING, path, "no such table", "correct data.table") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedsegError(Code.FILE_UNREADABLE, path, str(error), "give a CSV file in UTF-8") from error
    if not rows:
        raise MedsegError(Code.NOTHING_USABLE, path, "no row", "give a row a case")
    return [{key.removeprefix("\ufeff"): value or "" for key, value in row.items() if key} for row in rows]


def _case(locate: _Locate, row: _Row, patterns: Patterns) -> CaseFiles:
    name = _name(row, patterns)
    channels = {channel: locate(row[column]) for channel, column in patterns.channels.items()}
    label = row.get(patterns.label, "") if patterns.label else ""
    return CaseFiles(name, nfc(row.get("subject") or name), channels, locate(label) if label else None)


def _name(row: _Row, patterns: Patterns) -> str:
    image = row[_first(patterns)].replace("\\", "/")
    return nfc(row.get("case") or without_suffix(image.rpartition("/")[2]))


def _first(patterns: Patterns) -> str:
    """The column of the first channel."""
    return next(iter(patterns.channels.values()))
