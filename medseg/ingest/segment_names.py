"""Names of label values in the headers of Slicer's segmentations (`.seg.nrrd`), and disagreements of files.

Slicer numbers the segments of each file by itself: value 1 may be the tumour in one file and the ventricle in
another, which no training can learn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from medseg import files
from medseg.limits import MAX_HEADER_BYTES

_FIELD = re.compile(rb"^Segment(\d+)_(Name|LabelValue):=(.*)$", re.MULTILINE)
_SUFFIXES = (".nrrd", ".nhdr")


def of_file(path: Path) -> dict[int, str]:
    """Value → name of a file's segments; empty for a file that names none, or cannot be read."""
    if not path.name.lower().endswith(_SUFFIXES):
        return {}
    try:
        with files.open_regular(path) as file:
            head = file.read(MAX_HEADER_BYTES)
    except OSError:
        return {}
    fields: dict[bytes, dict[bytes, str]] = defaultdict(dict)
    for number, field, text in _FIELD.findall(re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]):
        fields[number][field] = text.decode("utf-8", "replace").strip()
    values = ((own.get(b"LabelValue", ""), own.get(b"Name", "")) for own in fields.values())
    return {int(value): name for value, name in values if re.fullmatch(r"\d{1,9}", value) and name}


def of_files(paths: Iterable[Path], root: Path) -> tuple[dict[int, str], tuple[str, ...]]:
    """The names that all files agree on, and a remark on the first value that two files call differently."""
    names: dict[int, tuple[str, Path]] = {}
    for path in paths:
        for value, name in of_file(path).items():
            known, first = names.setdefault(value, (name, path))
            if known.casefold() != name.casefold():
                return {}, (_disagreement(value, {known: first, name: path}, root),)
    return {value: name for value, (name, _) in names.items()}, ()


def _disagreement(value: int, called: Mapping[str, Path], root: Path) -> str:
    texts = (f"{name} in {path.relative_to(root).as_posix()}" for name, path in called.items())
    return (
        f"value {value} is called {' and '.join(texts)}: a value must mean the same in all files:"
        " export the segmentations with one colour table (Slicer: export to a label map, with a fixed table)"
    )
