"""Cases told apart by (subject, part, case), and the one rule by which such a tuple becomes a name.

A name depends on its own tuple alone, never on which other cases there are, and no two tuples share one:

- a case alone keeps its name
- ``sub-1`` and ``sub-1_ses-a`` → ``sub-1_ses-a``: the case's own name begins with its subject's
- ``s1`` and ``ses1`` → ``s1__ses1``; where patterns write both in one name, as ``{subject}_{case}``, it is
  ``s1_ses1``, the name of the file
- where train, val and test each count from 1, the role is a part of the name
- a part of a case's name stands before it: ``um`` and ``000000`` → ``um_000000``

A single ``_`` joins only where the first ``_`` of the name is the joint; two join everything else.
"""

from __future__ import annotations

import filecmp
import itertools
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.ingest.tree import nfc, without_zeros
from medseg.names import check_name

_COMPARED = 6
_IN_ONE_NAME = re.compile(r"\{subject\}[^/]*\{(?:case|part)\}")


@dataclass(frozen=True)
class Identity:
    """The values of a pattern's placeholders in NFC, None for those that it has not."""

    subject: str | None
    part: str | None
    case: str | None

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> Identity:
        """The identity in what a pattern's expression matched."""
        return cls(*(nfc(fields[key]) if key in fields else None for key in ("subject", "part", "case")))

    def without_zeros(self) -> Identity:
        """The identity with numbers as they are counted: ``img_007`` as ``img_7``."""
        values = (self.subject, self.part, self.case)
        return Identity(*(value if value is None else without_zeros(value) for value in values))


def in_one_name(pattern: str) -> bool:
    """True for a pattern that has the subject before the case in one name: ``{subject}_{case}_T1w``."""
    return _IN_ONE_NAME.search(pattern) is not None


def join(identity: Identity, *, subject_in_name: bool) -> str:
    """The case's name, unchecked. ``subject_in_name``: see :func:`in_one_name`; the same for all cases."""
    rest = [value for value in (identity.part, identity.case) if value is not None]
    name = rest[-1] if rest else identity.subject or ""
    if len(rest) == 2:
        name = _joined(rest[0], name, f"{rest[0]}_{name}")
    if not rest or identity.subject is None:
        return name
    subject = identity.subject
    if subject_in_name:
        return _joined(subject, name, f"{subject}_{name}")
    begins_with_subject = name == subject or name.startswith(f"{subject}_")
    return _joined(subject, name, name if begins_with_subject else "__")


def name_of(identity: Identity, *, subject_in_name: bool, where: object) -> str:
    """The case's name, fit for paths; see :func:`join`. Raises NAME_INVALID."""
    return check_name(join(identity, subject_in_name=subject_in_name), where)


def names_begin_anew(root: Path, claimed: Mapping[str, tuple[str, Mapping[str, str]]]) -> bool:
    """True if train, val and test have the same names for different files, as where each counts from 1.

    The role is then a part of a case's name. Files that are copies of another role's stay one case's, twice.
    ``claimed`` are relative paths of images with the pattern that matches each, and its placeholders' values.
    """
    files: dict[tuple[Identity, str], dict[str, str]] = defaultdict(dict)
    cases: dict[str, set[Identity]] = defaultdict(set)
    for path, (pattern, fields) in claimed.items():
        if "role" not in fields or "part" in fields:
            return False
        identity = Identity.of_fields(fields)
        files[identity, pattern].setdefault(fields["role"], path)
        cases[fields["role"]].add(identity)
    shared = [list(paths.values()) for paths in files.values() if len(paths) > 1]
    identities = {identity for (identity, _), paths in files.items() if len(paths) > 1}
    if not shared or 2 * len(identities) < min(map(len, cases.values())):
        return False
    pairs = (pair for paths in shared[:_COMPARED] for pair in itertools.combinations(paths, 2))
    return not any(_are_equal(root / a, root / b) for a, b in pairs)


def _are_equal(a: Path, b: Path) -> bool:
    """True for files with the same bytes; False where one cannot be read, which its reader will tell."""
    try:
        return filecmp.cmp(a, b, shallow=False)
    except OSError:
        return False


def _joined(first: str, second: str, simple: str) -> str:
    """``simple`` where its first ``_`` ends ``first``, otherwise both around ``__``, which it never holds."""
    if "_" not in first and "__" not in simple:
        return simple
    if "__" in first or first.endswith("_") or "~" in first:
        first = first.replace("~", "~t").replace("_", "~u")
    return f"{first}__{second}"
