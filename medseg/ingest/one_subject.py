"""Folders of one subject alone: its name, which nothing repeats, stands above its sessions' folders.

``anna/baseline/T1`` and ``anna/followup/T1`` are two cases of one person, and so are ``baseline/T1`` and
``followup/T1`` in a folder ``anna``. By the names alone persons and sessions are told apart where the names
are sessions', sides or dates; a remark says so, for a date may also be a person's only visit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import some
from medseg.ingest import path_words, subjects
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.patterns import FolderContents, Patterns

_GENERAL = {"data", "dataset", "datasets", "database", "scans", "patients", "subjects", "cases", "nifti"}


@dataclass(frozen=True)
class OneSubject:
    """Patterns with ``{subject}``, or the ``name`` of all cases' subject; without both a remark alone."""

    remark: str
    patterns: Patterns | None = None
    name: str | None = None


def find(root: Path, contents: FolderContents) -> OneSubject | None:
    """The one subject of all cases, if their names are those of sessions; None if nothing is to be said."""
    names = [case.name for case in contents.cases]
    if len(names) < 2 or contents.roles or any(case.subject != case.name for case in contents.cases):
        return None
    above = _folder_above(root, contents)
    is_person = above is not None and subjects.is_numbered_person(above)
    are_sessions = subjects.are_sessions_of_one(names)
    shown = some(names, 2)
    if not are_sessions and not (is_person and all(map(subjects.is_session, names))):
        if above is None or _says_nothing(above) or not subjects.may_be_sessions(names):
            return None
        return OneSubject(
            f"{shown} are taken for subjects; if they are sessions of {above}, write {{subject}} instead of"
            " the folder above {case} in the patterns"
        )
    patterns = _with_subject(contents.patterns) if above is not None and not _says_nothing(above) else None
    name = above if above is not None and patterns else root.absolute().name
    remark = (
        f"{shown} look like sessions of one subject, {name}: they stay on one side of a split, so that"
        " nothing can be tested until there are others; "
    )
    if patterns:
        other = "if each is a subject of its own, write * instead of {subject} in the patterns"
        return OneSubject(remark + other, patterns)
    usable = re.sub(r"[{}/*?]", "_", name) or "subject"
    return OneSubject(remark + "if each is a subject of its own, leave out data.subject", name=usable)


def _folder_above(root: Path, contents: FolderContents) -> str | None:
    """The one folder that holds what is named after cases; None where there are several, or none."""
    patterns = contents.patterns
    level = _level(next(iter(patterns.channels.values())))
    texts = (*patterns.channels.values(), *filter(None, [patterns.label]), *patterns.masks.values())
    if not level or len({text.partition("{case}")[0] for text in texts}) > 1:
        return None  # folders of images and of label maps are nobody's names
    paths = [path.relative_to(root) for case in contents.cases for path in case.channels.values()]
    folders = {path.parts[level - 1] for path in paths}
    return folders.pop() if len(folders) == 1 else None


def _level(pattern: str) -> int:
    """The number of folders above the part of a pattern that names the case; 0 where it is not certain."""
    before = pattern.partition("{case}")[0]
    return 0 if "**" in before else before.count("/")


def _says_nothing(folder: str) -> bool:
    """True for a folder's name that says what is in it, and not whose it is."""
    lower = folder.lower()
    return lower in ROLES or lower in _GENERAL or any(map(path_words.is_known, path_words.words_of(folder)))


def _with_subject(patterns: Patterns) -> Patterns | None:
    """The patterns with ``{subject}`` for the folder above the case; None where it is not above all."""
    texts = [
        *patterns.channels.values(),
        *([patterns.label] if patterns.label else []),
        *patterns.masks.values(),
    ]
    if len({text.partition("{case}")[0] for text in texts}) > 1:
        return None

    def written(text: str) -> str:
        parts = text.split("/")
        parts[_level(text) - 1] = "{subject}"
        return "/".join(parts)

    def all_written(named: Mapping[str, str]) -> dict[str, str]:
        return {name: written(text) for name, text in named.items()}

    return replace(
        patterns,
        channels=all_written(patterns.channels),
        label=patterns.label and written(patterns.label),
        masks=all_written(patterns.masks),
    )
