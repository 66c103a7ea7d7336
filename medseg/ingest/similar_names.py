"""Names that differ in writing alone: `sub-1`, `sub-01` and `SUB01` are probably one person's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from medseg.ingest.tree import natural_key

_PARTS = re.compile(r"[^\W\d_]+|\d+")
_COPY = re.compile(
    r"(?:[\s_.-]*(?:copy|kopie|copie|copia)(?:[\s_.-]*\d+)?|\s*\(\d+\)|\s+-\s+copy)\s*$", re.IGNORECASE
)


def similar_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Find groups of different names that are equal but for case, separators, leading zeros and ` (1)`.

    Numbers are compared as such, so that ``p1_1`` and ``p11`` differ. Groups and names are in natural order.
    """
    groups: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        groups.setdefault(_key(name), set()).add(name)
    alike = [tuple(sorted(group, key=natural_key)) for group in groups.values() if len(group) > 1]
    return sorted(alike, key=lambda group: natural_key(group[0]))


def _key(name: str) -> tuple[str, ...]:
    """Letters in lower case without accents' spelling, and numbers without leading zeros."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    plain = _COPY.sub("", folded) or folded
    parts: list[str] = []
    for part in _PARTS.findall(plain):
        if part.isdecimal():
            parts.append(str(int(part)))
        elif parts and not parts[-1].isdecimal():
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts) or (name,)
