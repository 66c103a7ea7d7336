"""From a folder's files and a few patterns to cases: which file is which channel or label of whom.

A pattern is a path relative to the root with the placeholders ``{case}`` and ``{subject}``, ``*`` for any
part of a name and ``**/`` for any number of folders. Without a suffix it takes any that a reader knows:
``{case}/{case}_t1`` matches ``p07/p07_t1.nii.gz``. All patterns of a recipe use the same placeholders.
``{part}`` is a further part of the case's name, ``{role}`` a folder or word that says train, val or test.
A label's pattern that ends with ``/`` is a folder of masks, all of one case.

A folder holds scans (mm) or pictures (px), never both: pictures beside scans are not looked at unless a
pattern ends with a picture's suffix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medseg.errors import Code, Finding, MedsegError
from medseg.io import scans

_TOKEN = re.compile(r"\{\w*\}|\*\*/|\*|[^{*]+|.")
_ANY_NAME = r"[^/]+"
_PLACEHOLDERS = {"case", "subject", "part", "role"}

ROLES: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The words that ``{role}`` matches, and the role each means."""


@dataclass(frozen=True)
class CaseFiles:
    """The paths of one case. Channels that share a path are the fourth axis of that file, in this order.

    It is labelled by a label map, or by ``masks`` that may overlap, each with a file of its own. A ``label``
    that is a folder holds one mask an object.
    """

    name: str
    subject: str
    channels: dict[str, Path]
    label: Path | None = None
    masks: dict[str, Path] = field(default_factory=dict)

    @property
    def label_paths(self) -> tuple[Path, ...]:
        """The files of its label map or masks; none if it is not labelled."""
        return (*([] if self.label is None else [self.label]), *self.masks.values())


@dataclass(frozen=True)
class Stray(Finding):
    """Why ``files``, those there are, that belong to ``case`` do not make a case."""

    case: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Patterns:
    """Channel name → pattern, the label map's, and what ``{subject}`` may match as an expression.

    Instead of a label map there may be ``masks``: mask name → pattern.
    """

    channels: Mapping[str, str]
    label: str | None = None
    subject_form: str = _ANY_NAME
    masks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What a folder holds: cases in natural order, files that make no case, scans that no pattern names.

    ``roles`` are those that folders, lists or a table give to cases; ``unit`` tells scans from pictures;
    ``known_by`` says what names the cases.
    """

    cases: list[CaseFiles]
    strays: list[Stray]
    layout: str
    patterns: Patterns
    ignored: list[Path]
    roles: tuple[tuple[str, str], ...] = ()
    unit: scans.Unit = "mm"
    known_by: Literal["pattern", "list", "table"] = "pattern"

    def ignored_below(self, root: Path) -> list[str]:
        """The ignored scans relative to ``root``, with slashes."""
        return [path.relative_to(root).as_posix() for path in self.ignored]

    def files(self) -> set[Path]:
        """Every file, or folder of masks, that belongs to a case or a stray, or is ignored."""
        held = {path for stray in self.strays for path in stray.files} | set(self.ignored)
        for case in self.cases:
            held.update(case.channels.values())
            held.update(case.label_paths)
        return held


_Role = tuple[Literal["channel", "mask", "label"], str]
"""What a file is to its case: the kind, and the channel's or mask's name."""

_LABEL: _Role = ("label", "")


@dataclass
class _Claims:
    """The files that claim one case, by role."""

    subject: str
    by_role: dict[_Role, list[Path]] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, Path]:
        """Name → first file, of the channels or of the masks."""
        return {name: paths[0] for (of, name), paths in self.by_role.items() if of == kind}


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts ``case2`` before ``case10``."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def files_under(root: Path, without: Path | None = None) -> list[str]:
    """All files below ``root`` as relative paths with slashes in natural order; hidden folders left out.

    Broken links count as files, and so does a folder that is named like a scan and holds none: whoever reads
    them says what is wrong. Links to folders are followed, each folder once; the folder ``without``, where
    results are written, is not entered. Raises PATH_MISSING, FILE_UNREADABLE.
    """
    if not root.is_dir():
        raise MedsegError(Code.PATH_MISSING, root, "no such folder", "correct the path to the data")
    found: list[Path] = []
    named_like_scans: list[Path] = []
    seen = set() if without is None else {os.path.realpath(without)}
    for folder, inner, names in os.walk(root, followlinks=True, onerror=_unreadable):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(real)
        found += [Path(folder, name) for name in names]
        named_like_scans += [path for name in inner if scans.detect_kind(path := Path(folder, name)) == "mm"]
    holding = {parent for path in found if scans.detect_kind(path) == "mm" for parent in path.parents}
    found += [path for path in named_like_scans if path not in holding]
    return sorted((path.relative_to(root).as_posix() for path in found), key=natural_key)


def scans_under(root: Path, without: Path | None = None) -> list[str]:
    """The scans among :func:`files_under`, those that no reader can use too; half-written ones left out."""
    return measured_under("mm", root, without)


def measured_under(unit: scans.Unit, root: Path, without: Path | None = None) -> list[str]:
    """The scans (mm) or pictures (px) among :func:`files_under`."""
    return [path for path in files_under(root, without) if scans.detect_kind(Path(path)) == unit]


def measured_alike(
    root: Path, without: Path | None = None, channels: Mapping[str, str] | None = None
) -> tuple[scans.Unit, list[str]]:
    """Whether a folder is one of scans (mm) or of pictures (px), and those files of it, as relative paths.

    The suffixes of the channels' patterns say so; without any, a folder with a single scan is one of scans.
    Raises PATH_MISSING, FILE_UNREADABLE, NOTHING_USABLE where there is neither.
    """
    everything = files_under(root, without)
    units: tuple[scans.Unit, ...] = ("mm", "px")
    for texts in (list((channels or {}).values()), everything):
        for unit in units:
            if any(scans.detect_kind(Path(text)) == unit for text in texts):
                tree = [path for path in everything if scans.detect_kind(Path(path)) == unit]
                if tree:
                    return unit, tree
    known = " ".join((*scans.SUFFIXES, *scans.SUFFIXES_OF["px"]))
    raise MedsegError(Code.NOTHING_USABLE, root, "no scan", f"name a folder with files of {known}")


def without_suffix(path: str) -> str:
    """A relative path without the suffix of a scan."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + scans.stem(Path(name))


def match(root: Path, tree: Iterable[str], patterns: Patterns, layout: str) -> Found:
    """Sort the files of ``tree`` (relative to ``root``) into cases by ``patterns``.

    A file that several patterns match belongs to the one with most literal characters, the label's if equal.
    Strays: LABEL_WITHOUT_IMAGE, CHANNEL_MISSING, MASK_MISSING, DUPLICATE_CASE. An image without a label, or
    without any of the masks, is a case.
    Raises RECIPE_INVALID for patterns that cannot work.
    """
    rules = _compile(patterns)
    claims: dict[str, _Claims] = {}
    ignored = []
    roles = set()
    for path in tree:
        hit = _claim(path, rules)
        if hit is None:
            ignored.append(root / path)
            continue
        pattern, fields = hit
        name, subject = _name(fields)
        if word := fields.get("role"):
            roles.add((name, ROLES[word]))
        by_role = claims.setdefault(name, _Claims(subject)).by_role
        claimed = (root / path).parent if pattern.endswith("/") else root / path
        for role in _roles(pattern, patterns):
            if claimed not in by_role.setdefault(role, []):
                by_role[role].append(claimed)
    cases: list[CaseFiles] = []
    strays: list[Stray] = []
    for name in sorted(claims, key=natural_key):
        result = _settle(name, claims[name], patterns)
        (cases if isinstance(result, CaseFiles) else strays).append(result)  # type: ignore[arg-type]
    return Found(cases, strays, layout, patterns, ignored, tuple(sorted(roles)))


def _unreadable(error: OSError) -> None:
    raise MedsegError(
        Code.FILE_UNREADABLE, error.filename, error.strerror or "cannot be listed", "check its permissions"
    )


# Patterns: one regular expression each


def _compile(patterns: Patterns) -> list[tuple[int, str, re.Pattern[str]]]:
    """(literal characters, pattern, expression) of each distinct pattern, the first to be tried first."""
    labels = [patterns.label] if patterns.label else []
    texts = [*labels, *patterns.masks.values(), *patterns.channels.values()]
    if not patterns.channels:
        raise _invalid("no channel", "name at least one channel's pattern under data.channels")
    used = {text: set(re.findall(r"\{(\w*)\}", text)) for text in texts}
    for text, names in used.items():
        if names - _PLACEHOLDERS or not names & {"case", "subject"}:
            how_to_fix = (
                "use {case}, {subject} or both, beside them {part} or {role}, and nothing else in braces"
            )
            raise _invalid(f"pattern {text!r}", how_to_fix)
    if len({frozenset(names) for names in used.values()}) > 1:
        raise _invalid(f"patterns {', '.join(map(repr, texts))}", "use the same placeholders in all of them")
    rules = [(_weight(text), text, _expression(text, patterns.subject_form)) for text in dict.fromkeys(texts)]
    return sorted(rules, key=lambda rule: -rule[0])


def _invalid(details: str, how_to_fix: str) -> MedsegError:
    return MedsegError(Code.RECIPE_INVALID, "data", details, how_to_fix)


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
        elif name in _PLACEHOLDERS and token != name:
            form = {"subject": subject_form, "role": "|".join(ROLES)}.get(name, _ANY_NAME)
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{form})")
            seen.add(name)
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts) + ("[^/]+" if pattern.endswith("/") else ""))


def _claim(path: str, rules: list[tuple[int, str, re.Pattern[str]]]) -> tuple[str, dict[str, str]] | None:
    """The pattern that ``path`` belongs to and the placeholders' values."""
    for _, pattern, expression in rules:
        hit = expression.fullmatch(without_suffix(path)) or expression.fullmatch(path)
        if hit:
            return pattern, hit.groupdict()
    return None


def _roles(pattern: str, patterns: Patterns) -> list[_Role]:
    """What ``pattern`` stands for: the label map, masks, or channels."""
    if pattern == patterns.label:
        return [_LABEL]
    masks: list[_Role] = [("mask", name) for name, text in patterns.masks.items() if text == pattern]
    return masks or [("channel", name) for name, text in patterns.channels.items() if text == pattern]


def _name(fields: Mapping[str, str]) -> tuple[str, str]:
    """The case's name and its subject; a case not named after its subject gets the subject in front."""
    case = fields.get("case") or fields["subject"]
    if part := fields.get("part"):
        case = f"{part}_{case}"
    subject = fields.get("subject") or case
    return case if case.startswith(subject) else f"{subject}_{case}", subject


def _settle(name: str, claims: _Claims, patterns: Patterns) -> CaseFiles | Stray:
    """Make the case, or say why these files are none."""
    held = tuple(path for paths in claims.by_role.values() for path in paths)
    for (kind, role), paths in claims.by_role.items():
        if len(paths) > 1:
            found = f"{role or kind}: {' and '.join(map(str, paths))}"
            how_to_fix = "remove one, or make the pattern narrower"
            return Stray(Code.DUPLICATE_CASE, str(paths[1]), found, how_to_fix, name, held)
    channels, masks = claims.of("channel"), claims.of("mask")
    if not channels:
        found = "no image of this case"
        return Stray(Code.LABEL_WITHOUT_IMAGE, str(held[0]), found, "add the image", name, held)
    if absent := ", ".join(c for c in patterns.channels if c not in channels):
        first = str(next(iter(channels.values())))
        how_to_fix = "add the file, or drop the channel"
        return Stray(Code.CHANNEL_MISSING, first, f"no {absent}", how_to_fix, name, held)
    if masks and (absent := ", ".join(m for m in patterns.masks if m not in masks)):
        first, how_to_fix = (
            str(next(iter(masks.values()))),
            "add the file, all 0 if there is none of it in the case",
        )
        return Stray(Code.MASK_MISSING, first, f"no {absent}", how_to_fix, name, held)
    label = claims.of("label").get("")
    return CaseFiles(
        name,
        claims.subject,
        {c: channels[c] for c in patterns.channels},
        label,
        {m: masks[m] for m in patterns.masks if m in masks},
    )
