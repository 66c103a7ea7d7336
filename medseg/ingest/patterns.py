"""From a folder's files and a few patterns to cases: which file is which channel or label of whom.

A pattern is a path relative to the root with the placeholders ``{case}`` and ``{subject}``, ``*`` for any
part of a name and ``**/`` for any number of folders. Without a suffix it takes any that a reader knows:
``{case}/{case}_t1`` matches ``p07/p07_t1.nii.gz``. All patterns of a recipe use the same placeholders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import Code, Finding, MedsegError
from medseg.io import scans

_TOKEN = re.compile(r"\{\w*\}|\*\*/|\*|[^{*]+|.")
_ANY_NAME = r"[^/]+"
_LABEL = "label"


@dataclass(frozen=True)
class CaseFiles:
    """The paths of one case. Channels that share a path are the fourth axis of that file, in this order."""

    name: str
    subject: str
    channels: dict[str, Path]
    label: Path | None = None


@dataclass(frozen=True)
class Stray(Finding):
    """Why files that belong to ``case`` do not make a case."""

    case: str


@dataclass(frozen=True)
class Patterns:
    """Channel name → pattern, the label map's pattern, and what ``{subject}`` may match as an expression."""

    channels: Mapping[str, str]
    label: str | None = None
    subject_form: str = _ANY_NAME


@dataclass(frozen=True)
class Found:
    """What a folder holds: cases in natural order, files that make no case, scans that no pattern names."""

    cases: list[CaseFiles]
    strays: list[Stray]
    layout: str
    patterns: Patterns
    ignored: list[Path]


@dataclass
class _Claims:
    """The files that claim one case, by role: a channel's name, or None for the label map."""

    subject: str
    by_role: dict[str | None, list[Path]] = field(default_factory=dict)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts ``case2`` before ``case10``."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def scans_under(root: Path) -> list[str]:
    """All scans below ``root`` as sorted relative paths with slashes; hidden and half-written files left out.

    Links to folders are followed, each folder once. Raises PATH_MISSING, FILE_UNREADABLE.
    """
    if not root.is_dir():
        raise MedsegError(Code.PATH_MISSING, root, "no such folder", "correct the path to the data")
    found, seen = [], set()
    for folder, inner, names in os.walk(root, followlinks=True, onerror=_unreadable):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(real)
        paths = (Path(folder, name) for name in names)
        found += [p.relative_to(root).as_posix() for p in paths if scans.is_scan(p)]
    return sorted(found, key=natural_key)


def without_suffix(path: str) -> str:
    """A relative path without the suffix of a scan."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + scans.stem(Path(name))


def match(root: Path, tree: Iterable[str], patterns: Patterns, layout: str) -> Found:
    """Sort the files of ``tree`` (relative to ``root``) into cases by ``patterns``.

    A file that several patterns match belongs to the one with most literal characters, the label's if equal.
    Strays: LABEL_WITHOUT_IMAGE, CHANNEL_MISSING, DUPLICATE_CASE. An image without a label is a case.
    Raises RECIPE_INVALID for patterns that cannot work.
    """
    rules = _compile(patterns)
    claims: dict[str, _Claims] = {}
    ignored = []
    for path in tree:
        hit = _claim(path, rules)
        if hit is None:
            ignored.append(root / path)
            continue
        pattern, fields = hit
        name, subject = _name(fields)
        by_role = claims.setdefault(name, _Claims(subject)).by_role
        for role in _roles(pattern, patterns):
            by_role.setdefault(role, []).append(root / path)
    cases: list[CaseFiles] = []
    strays: list[Stray] = []
    for name in sorted(claims, key=natural_key):
        result = _settle(name, claims[name], list(patterns.channels))
        (cases if isinstance(result, CaseFiles) else strays).append(result)  # type: ignore[arg-type]
    return Found(cases, strays, layout, patterns, ignored)


def _unreadable(error: OSError) -> None:
    raise MedsegError(
        Code.FILE_UNREADABLE, error.filename, error.strerror or "cannot be listed", "check its permissions"
    )


# Patterns: one regular expression each


def _compile(patterns: Patterns) -> list[tuple[int, str, re.Pattern[str]]]:
    """(literal characters, pattern, expression) of each distinct pattern, the first to be tried first."""
    texts = [*([patterns.label] if patterns.label else []), *patterns.channels.values()]
    if not patterns.channels:
        raise _invalid("no channel", "name at least one channel's pattern under data.channels")
    used = {text: set(re.findall(r"\{(\w*)\}", text)) for text in texts}
    for text, names in used.items():
        if names - {"case", "subject"} or not names:
            raise _invalid(f"pattern {text!r}", "use {case}, {subject} or both, and nothing else in braces")
    if len({frozenset(names) for names in used.values()}) > 1:
        raise _invalid(f"patterns {', '.join(map(repr, texts))}", "use the same placeholders in all of them")
    rules = [(_weight(text), text, _expression(text, patterns.subject_form)) for text in dict.fromkeys(texts)]
    return sorted(rules, key=lambda rule: -rule[0])


def _invalid(found: str, remedy: str) -> MedsegError:
    return MedsegError(Code.RECIPE_INVALID, "data", found, remedy)


def _weight(pattern: str) -> int:
    return len(re.sub(r"\{\w*\}|\*", "", without_suffix(pattern)))


def _expression(pattern: str, subject_form: str) -> re.Pattern[str]:
    parts: list[str] = []
    seen = set()
    for token in _TOKEN.findall(pattern):
        name = token.strip("{}")
        if token == "**/":
            parts.append("(?:[^/]+/)*")
        elif token == "*":
            parts.append("[^/]*")
        elif token in {"{case}", "{subject}"}:
            form = subject_form if name == "subject" else _ANY_NAME
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{form})")
            seen.add(name)
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts))


def _claim(path: str, rules: list[tuple[int, str, re.Pattern[str]]]) -> tuple[str, dict[str, str]] | None:
    """The pattern that ``path`` belongs to and the placeholders' values."""
    for _, pattern, expression in rules:
        hit = expression.fullmatch(without_suffix(path)) or expression.fullmatch(path)
        if hit:
            return pattern, hit.groupdict()
    return None


def _roles(pattern: str, patterns: Patterns) -> list[str | None]:
    """The channels that ``pattern`` stands for, or the label map's role, None."""
    if pattern == patterns.label:
        return [None]
    return [name for name, text in patterns.channels.items() if text == pattern]


def _name(fields: Mapping[str, str]) -> tuple[str, str]:
    """The case's name and its subject; a case not named after its subject gets the subject in front."""
    subject = fields.get("subject") or fields["case"]
    case = fields.get("case") or subject
    return case if case.startswith(subject) else f"{subject}_{case}", subject


def _settle(name: str, claims: _Claims, channels: list[str]) -> CaseFiles | Stray:
    """Make the case, or say why these files are none."""
    for role, paths in claims.by_role.items():
        if len(paths) > 1:
            found = f"{role or 'label'}: {' and '.join(map(str, paths))}"
            remedy = "remove one, or make the pattern narrower"
            return Stray(Code.DUPLICATE_CASE, str(paths[1]), found, remedy, name)
    label = claims.by_role.get(None, [None])[0]
    there = {c: claims.by_role[c][0] for c in channels if c in claims.by_role}
    if not there:
        return Stray(Code.LABEL_WITHOUT_IMAGE, str(label), "no image of this case", "add the image", name)
    if len(there) < len(channels):
        absent = ", ".join(c for c in channels if c not in there)
        first = str(next(iter(there.values())))
        return Stray(Code.CHANNEL_MISSING, first, f"no {absent}", "add the file, or drop the channel", name)
    return CaseFiles(name, claims.subject, there, label)
