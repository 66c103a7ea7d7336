"""Files of a folder that are neither in a case nor excluded, as sentences on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import some
from medseg.ingest.ignored import matches
from medseg.ingest.patterns import FolderContents
from medseg.ingest.tree import count_by_suffix
from medseg.io import scans
from medseg.io.scans import Unit

NAMED = 5
"""Names that a line shows before it counts the rest."""


def ignored_line(names: Sequence[str], unit: Unit, known_by: str) -> str:
    """A sentence about scans (mm) or images (px) that no pattern, list or table (`known_by`) names."""
    one = len(names) == 1
    what = f"{len(names)} {'scan' if unit == 'mm' else 'image'}{'' if one else 's'}"
    be, matching = ("is", "matches") if one else ("are", "match")
    phrases = {"list": f"{be} on no list", "table": f"{be} in no row of the table"}
    return f"{what} {phrases.get(known_by, f'{matching} no pattern')}: {some(names, NAMED)}"


def leftover_lines(contents: FolderContents, root: Path, globs: Sequence[str] = ()) -> list[str]:
    """Sentences about all files of a folder that are neither in a case nor excluded, the worst first.

    Those that the recipe itself ignores by ``globs`` are only counted.
    """
    lines = []
    ignored = [name for name in contents.ignored_below(root) if not matches(name, globs)]
    by_recipe = len(contents.ignored) - len(ignored)
    if ignored:
        lines.append(ignored_line(ignored, contents.unit, contents.known_by))
    if by_recipe:
        noun = "scan" if contents.unit == "mm" else "image"
        lines.append(f"{by_recipe} {noun}{' is' if by_recipe == 1 else 's are'} left out by data.ignore")
    unread = [path.relative_to(root).as_posix() for path in contents.unread]
    return [*lines, *unread_lines(unread, root), *others_lines(contents.others, contents.unit)]


def unread_lines(paths: Sequence[str], root: Path) -> list[str]:
    """Sentences about files of image formats that are not read, one for each way to fix them."""
    by_remedy: dict[str, list[str]] = {}
    for path in paths:
        how_to_fix = (scans.unread_format(root / path) or "convert it").partition(", for example")[0]
        by_remedy.setdefault(how_to_fix, []).append(path)
    return [
        f"{len(names)} {'file has a format that is' if len(names) == 1 else 'files have formats that are'}"
        f" not read ({how_to_fix}): {some(names, NAMED)}"
        for how_to_fix, names in by_remedy.items()
    ]


def others_lines(paths: Sequence[str], unit: Unit) -> list[str]:
    """A sentence about files that are neither scans (mm) nor images (px), if there are any."""
    if not paths:
        return []
    noun = "scan" if unit == "mm" else "image"
    what = f"file is no {noun}" if len(paths) == 1 else f"files are no {noun}s"
    names = some(paths, NAMED) if len(paths) <= NAMED else count_by_suffix(paths)
    return [f"{len(paths)} other {what}: {names}"]
