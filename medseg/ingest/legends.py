"""Names of colours, from files that people keep beside masks in colours.

Read are lines with a name and a colour in either order, as `road, 128, 64, 128`, `128 64 128 Road` and
`road: #804080` (CamVid's label_colors.txt, CVAT's labelmap.txt, tables with or without a header), colour
tables of Slicer and FreeSurfer, label descriptions of ITK-SNAP, and JSON in which a name has a colour.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.classes import Colour
from medseg.ingest.class_names import small_text

_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".ctbl", ".lut", ".label", ".md", ".yaml", ".yml")
_MOST_FILES = 200
_LONGEST_LINE = 300
"""Characters of a line with a colour; longer ones are text, and would take expressions long to refuse."""

_NAME = r"[\"']?(?P<name>[^\W\d_][^\"':=,;\t#]*?)[\"']?"
_TRIPLE = r"(?:rgb)?[(\[]?\s*(?P<r>\d{1,3})\s*[,; \t]\s*(?P<g>\d{1,3})\s*[,; \t]\s*(?P<b>\d{1,3})\s*[)\]]?"
_HEX = r"(?:#|0x)(?P<hex>[0-9A-Fa-f]{6})\b"
_BETWEEN = r"\s*[:=,;\t ]\s*[\"']?"
_BULLET = r"(?:[-*|]\s*)?"
_NUMBER = r"(?:\d+\s*[-:,;\t |]\s*)?"
_ALPHA = r"(?:\s*[,; \t]\s*\d{1,3})?"
_FORMS = tuple(
    re.compile(text)
    for text in (
        rf"\d+\s+{_TRIPLE}\s+[\d.]+\s+[01]\s+[01]\s+{_NAME}\s*$",  # of ITK-SNAP, with three switches
        rf"{_BULLET}{_NUMBER}{_NAME}{_BETWEEN}(?:\|\s*)?(?:{_TRIPLE}{_ALPHA}|{_HEX})\W*(?:$|::)",
        rf"{_BULLET}(?:{_TRIPLE}|{_HEX})(?:[\"'|]|{_BETWEEN})[\s:|]*{_NAME}\W*$",
    )
)
_NAME_KEYS = ("name", "title", "label", "class", "readable", "category")
_COLOUR_KEYS = ("color", "colour", "rgb", "color_rgb", "hex")


@dataclass(frozen=True)
class Legend:
    """Names of colours, and the file, relative to the folder of the data, that gives them."""

    path: str
    names: Mapping[Colour, str]


def best(root: Path, paths: Iterable[str], wanted: Collection[Colour]) -> Legend | None:
    """The legend among ``paths``, relative to ``root``, that names most of the colours; None without any.

    Of equals the one with fewest further names is taken, then the first by name.
    """
    chosen = [path for path in paths if path.lower().endswith(_SUFFIXES)][:_MOST_FILES]
    legends = [Legend(path, _read(root / path)) for path in chosen]
    known = [legend for legend in legends if legend.names.keys() & set(wanted)]
    return min(known, key=lambda x: (-len(x.names.keys() & set(wanted)), len(x.names), x.path), default=None)


def _read(path: Path) -> dict[Colour, str]:
    """Colour → name, empty for a file that names no colours; the first name of a colour counts."""
    text = small_text(path)
    pairs = _of_json(text) if path.suffix.lower() == ".json" else _of_lines(text)
    names: dict[Colour, str] = {}
    for colour, name in pairs:
        names.setdefault(colour, " ".join(name.split()))
    return names


def _of_lines(text: str) -> Iterator[tuple[Colour, str]]:
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE:
            continue
        hits = (form.match(line.strip()) for form in _FORMS)
        hit = next((hit for hit in hits if hit), None)
        if hit and (colour := _colour_of(hit.groupdict())):
            yield colour, hit["name"]


def _colour_of(fields: Mapping[str, str | None]) -> Colour | None:
    if digits := fields.get("hex"):
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    red, green, blue = (int(fields[key] or 0) for key in "rgb")
    return (red, green, blue) if max(red, green, blue) <= 255 else None


def _of_json(text: str) -> Iterator[tuple[Colour, str]]:
    """Objects with a name and a colour at any depth, and objects of names with a colour each."""
    try:
        waiting: deque[Any] = deque([json.loads(text)])
    except (ValueError, RecursionError):
        return
    while waiting:
        item = waiting.popleft()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            own = {key.lower(): value for key, value in item.items()}
            name = next((own[key] for key in _NAME_KEYS if isinstance(own.get(key), str)), None)
            colour = next((own[key] for key in _COLOUR_KEYS if key in own), None)
            if name and (read := _colour(colour)):
                yield read, name
                continue
            for key, value in item.items():
                if read := _colour(value):
                    yield read, key
                elif by_key := _colour(key):
                    yield from [(by_key, value)] if isinstance(value, str) else []
                else:
                    waiting.append(value)


def _colour(value: Any) -> Colour | None:
    """A colour written as three numbers or as text: `[128, 0, 0]`, `#800000`, `128, 0, 0`."""
    if isinstance(value, str):
        hit = re.fullmatch(rf"\s*(?:{_TRIPLE}|#?(?P<hex>[0-9A-Fa-f]{{6}}))\s*", value)
        if short := re.fullmatch(r"#([0-9A-Fa-f])([0-9A-Fa-f])([0-9A-Fa-f])", value):
            return int(short[1] * 2, 16), int(short[2] * 2, 16), int(short[3] * 2, 16)
        return _colour_of(hit.groupdict()) if hit else None
    is_triple = isinstance(value, list) and len(value) in (3, 4) and all(type(v) is int for v in value)
    if is_triple and all(0 <= v <= 255 for v in value):
        red, green, blue = value[:3]
        return red, green, blue
    return None
