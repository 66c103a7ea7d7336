"""The one rule for names that come from an input and become parts of paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from medseg.errors import Code, MedsegError
from medseg.limits import MAX_NAME_BYTES

_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing: a name with them reads as another."""


def check_name(name: str, where: object) -> str:
    """Give ``name`` in Unicode's NFC form if it can be one part of a path; raise NAME_INVALID if it cannot.

    This is the one rule for every name that comes from an input and becomes part of a path: cases, subjects,
    members, masks, channels, entries of archives, cells of tables.
    """
    normal = unicodedata.normalize("NFC", name)
    if (wrong := invalid(normal)) is not None:
        raise MedsegError(Code.NAME_INVALID, where, f"the name {normal[:60]!a} {wrong}", "rename it")
    return normal


def invalid(name: str) -> str | None:
    """The reason, as the end of a sentence, why a name cannot be one part of a path; None if it can."""
    if name in ("", ".", ".."):
        return "is empty or dots alone"
    if any(c in "/\\" for c in name):
        return "holds a slash"
    if any(unicodedata.category(c) in _INVISIBLE or c in _TURNING for c in name):
        return "holds control characters"
    if name.startswith(".") or name != name.strip():
        return "begins with a dot, or begins or ends with a space"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def joined(parts: Sequence[str]) -> str:
    """Join parts to one name by underscores; several parts never give the name of other parts.

    ``("a", "b")`` is ``a_b``. Where a part has underscores inside, the joint has one more than the longest
    run of them: ``("a_b", "c")`` is ``a_b__c`` and ``("a", "b_c")`` is ``a__b_c``. Underscores at the ends of
    a part are written ``%5F``, and the percent sign ``%25``. A single part stays as it is.
    """
    if len(parts) == 1:
        return parts[0]
    escaped = [_without_outer_underscores(part.replace("%", "%25")) for part in parts]
    longest = max(len(run) for part in escaped for run in re.findall("_*", part))
    return ("_" * (longest + 1)).join(escaped)


def _without_outer_underscores(part: str) -> str:
    inner = part.strip("_")
    if not inner:
        return "%5F" * len(part)
    before = len(part) - len(part.lstrip("_"))
    return "%5F" * before + inner + "%5F" * (len(part) - before - len(inner))
