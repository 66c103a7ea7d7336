"""Patterns of paths, by which a folder's files become cases: this file is that channel or label of this case.

A pattern is a path relative to the root with the placeholders ``{case}`` and ``{subject}``, ``*`` for any
part of a name and ``**/`` for any number of folders. Without a suffix it takes any that a reader knows:
``{case}/{case}_t1`` matches ``p07/p07_t1.nii.gz``. All patterns of a recipe use the same placeholders.
``{part}`` is a further part of the case's name, and of the subject's if it stands before it, as a site;
``{role}`` a folder or word that says train, val or test. What stands in brackets around a placeholder may be
missing: ``{subject}/[{case}/]T1`` matches ``anna/T1`` and ``bert/visit2/T1``.
A label's pattern that ends with ``/`` is a folder of masks, all of one case; :func:`of_classes` writes one
with ``{class}`` out.

Names are compared in Unicode's NFC form; :mod:`medseg.ingest.identity` says how a case gets its name. A
folder holds scans (mm) or images (px), never both: images beside scans are not looked at unless a pattern
ends with an image's suffix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medseg.errors import Code, Finding, MedsegError
from medseg.ingest.identity import Identity, in_one_name, join, name_of, names_begin_anew
from medseg.ingest.tree import Tree, natural_key, nfc, without_suffix
from medseg.io import scans

_TOKEN = re.compile(r"\{\w*\}|\*\*/|\*|[^{*]+|.")
_OPTIONAL = re.compile(r"\[([^\[\]{}]*\{\w+\}[^\[\]{}]*)\]")
_ANY_NAME = r"[^/]+"
_PLACEHOLDERS = {"case", "subject", "part", "role"}
CLASS = "{class}"
"""In the label's pattern of a recipe: the name of a class, each of which has a file of its own."""


_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
ROLES: dict[str, str] = {
    form: role for word, role in _ROLES.items() for form in (word, word.capitalize(), word.upper())
}
"""The words that ``{role}`` matches, and the role each means: ``train``, ``Train``, ``TRAIN``, …"""


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

    def paths(self) -> set[Path]:
        """All its files, and folders of masks."""
        return {*self.channels.values(), *self.label_paths}


@dataclass(frozen=True)
class Stray(Finding):
    """The existing ``files`` of a ``case`` that cannot be made, the reason, and the ``missing`` channels."""

    case: str
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patterns:
    """Channel name → pattern, the label map's, and what placeholders may match as expressions.

    Instead of a label map there may be ``masks``: mask name → pattern.
    """

    channels: Mapping[str, str]
    label: str | None = None
    subject_form: str = _ANY_NAME
    masks: Mapping[str, str] = field(default_factory=dict)
    case_form: str = _ANY_NAME


@dataclass(frozen=True)
class FolderContents:
    """All files of a folder: cases in natural order, files that make no case, scans that no pattern names.

    ``roles`` are those that folders, lists or a table give to cases; ``unit`` tells scans from images;
    ``known_by`` says what names the cases. ``unread`` are further files of image formats that are not read,
    ``others`` all that is neither, as relative paths.
    """

    cases: list[CaseFiles]
    strays: list[Stray]
    layout: str
    patterns: Patterns
    ignored: list[Path]
    roles: tuple[tuple[str, str], ...] = ()
    unit: scans.Unit = "mm"
    known_by: Literal["pattern", "list", "table"] = "pattern"
    unread: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def ignored_below(self, root: Path) -> list[str]:
        """The ignored scans relative to ``root``, with slashes."""
        return [path.relative_to(root).as_posix() for path in self.ignored]

    def files(self) -> set[Path]:
        """Every file, or folder of masks, that belongs to a case or a stray, is ignored or not read."""
        of_strays = {path for stray in self.strays for path in stray.files}
        return of_strays.union(self.ignored, self.unread, *(case.paths() for case in self.cases))


_Role = tuple[Literal["channel", "mask", "label"], str]
"""What a file is to its case: the kind, and the channel's or mask's name."""


@dataclass(frozen=True)
class _Rule:
    """A pattern compiled: ``weight`` is its literal characters, ``stem`` matches it without its suffix."""

    pattern: str
    weight: int
    roles: list[_Role]
    expression: re.Pattern[str]
    stem: re.Pattern[str]


@dataclass
class _Claims:
    """The files that claim one case, by role.

    ``unread`` are those of formats that are not read, ``near`` those that differ from a pattern in their
    suffix.
    """

    by_role: dict[_Role, list[Path]] = field(default_factory=dict)
    unread: list[Path] = field(default_factory=list)
    near: dict[_Role, Path] = field(default_factory=dict)
    role_words: set[str] = field(default_factory=set)

    def add(self, rule: _Rule, path: Path) -> None:
        """Note that ``path``, or for a folder of masks its folder, has the roles of ``rule``."""
        claimed = path.parent if rule.pattern.endswith("/") else path
        for role in rule.roles:
            if claimed not in self.by_role.setdefault(role, []):
                self.by_role[role].append(claimed)

    def of(self, kind: str) -> dict[str, Path]:
        """Name → first file, of the channels or of the masks."""
        return {name: paths[0] for (of, name), paths in self.by_role.items() if of == kind}

    def files(self) -> tuple[Path, ...]:
        """All files and folders of masks, each once."""
        return tuple(dict.fromkeys([*(p for paths in self.by_role.values() for p in paths), *self.unread]))


def of_classes(label: str | None, names: Iterable[str]) -> dict[str, str]:
    """The pattern of each class's file, by its name, where ``label`` holds ``{class}``; none otherwise."""
    return {name: label.replace(CLASS, name) for name in names} if label and CLASS in label else {}


def match(root: Path, tree: Tree, patterns: Patterns, layout: str) -> FolderContents:
    """Sort the files of ``tree`` (relative to ``root``) into cases by ``patterns``.

    A file that several patterns match belongs to the one with most literal characters, the label's if equal.
    Strays: LABEL_WITHOUT_IMAGE, CHANNEL_MISSING, MASK_MISSING, DUPLICATE_CASE, NAME_INVALID, and
    FORMAT_NOT_READ for files of formats without a reader that a pattern would match if it were for their
    suffix. An image without a label, or without any of the masks, is a case.
    Raises RECIPE_INVALID for patterns that cannot work.
    """
    rules = _compile(patterns)
    claimed = {path: claim for path in tree.files if (claim := _claim(path, rules))}
    ignored = [path for path in tree.files if path not in claimed]
    of_images = {p: (r.pattern, fields) for p, (r, fields) in claimed.items() if r.roles[0][0] == "channel"}
    begin_anew = names_begin_anew(root, of_images)

    def identity_of(fields: Mapping[str, str]) -> Identity:
        return Identity.of_fields({**fields, "part": fields["role"]} if begin_anew else fields)

    claims: dict[Identity, _Claims] = {}
    for path, (rule, fields) in claimed.items():
        claims_of_case = claims.setdefault(identity_of(fields), _Claims())
        claims_of_case.add(rule, root / path)
        claims_of_case.role_words |= {fields["role"]} if "role" in fields else set()
    unread = _claim_unread(root, tree, rules, claims, identity_of)
    for path in ignored:
        if claim := _claim_but_for_suffix(path, rules):
            rule, fields = claim
            if near_to := claims.get(identity_of(fields)):
                near_to.near |= dict.fromkeys(rule.roles, root / path)
    cases: list[CaseFiles] = []
    strays: list[Stray] = []
    roles: set[tuple[str, str]] = set()
    subject_in_name = any(in_one_name(rule.pattern) for rule in rules)
    for identity, claims_of_case in claims.items():
        result = _settle(identity, claims_of_case, patterns, subject_in_name=subject_in_name)
        if isinstance(result, CaseFiles):
            cases.append(result)
        else:
            strays.append(result)
        name = result.name if isinstance(result, CaseFiles) else result.case
        roles |= {(name, ROLES[word]) for word in claims_of_case.role_words}
    return FolderContents(
        sorted(cases, key=lambda case: natural_key(case.name)),
        sorted(strays, key=lambda stray: natural_key(stray.case)),
        layout,
        patterns,
        [root / path for path in ignored],
        tuple(sorted(roles)),
        tree.unit,
        unread=unread,
        others=tree.others,
    )


def _claim_unread(
    root: Path,
    tree: Tree,
    rules: list[_Rule],
    claims: dict[Identity, _Claims],
    identity_of: Callable[[Mapping[str, str]], Identity],
) -> list[Path]:
    """Give files of formats that are not read to the cases that lack them; return those of no case."""
    unread = []
    for path in tree.unread:
        claim = _claim_but_for_suffix(path, rules) if scans.unread_kind(root / path) == tree.unit else None
        if claim is None:
            unread.append(root / path)
            continue
        rule, fields = claim
        claims_of_case = claims.setdefault(identity_of(fields), _Claims())
        is_of_folder = rule.pattern.endswith("/")
        if is_of_folder or any(role not in claims_of_case.by_role for role in rule.roles):
            claims_of_case.unread.append(root / path)
        else:
            unread.append(root / path)
    return unread


# Patterns: one regular expression each


def _compile(patterns: Patterns) -> list[_Rule]:
    """The rules of all distinct patterns, the first to be tried first."""
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
    rules = [
        _Rule(
            text,
            len(re.sub(r"\{\w*\}|\*", "", without_suffix(text))),
            _roles(text, patterns),
            _expression(text, patterns),
            _expression(without_suffix(text), patterns),
        )
        for text in dict.fromkeys(texts)
    ]
    return sorted(rules, key=lambda rule: -rule.weight)


def _invalid(details: str, how_to_fix: str) -> MedsegError:
    return MedsegError(Code.RECIPE_INVALID, "data", details, how_to_fix)


def _expression(pattern: str, patterns: Patterns) -> re.Pattern[str]:
    """The expression of a pattern's text; a placeholder's second place must hold what its first one does."""
    forms = {"subject": patterns.subject_form, "case": patterns.case_form, "role": "|".join(ROLES)}
    opened: set[str] = set()
    texts = enumerate(_OPTIONAL.split(nfc(pattern)))
    parts = [(i % 2, _expression_of(text, forms, opened)) for i, text in texts]
    text = "".join(f"(?:{part})?" if is_optional else part for is_optional, part in parts)
    return re.compile(text + ("[^/]+" if pattern.endswith("/") else ""))


def _expression_of(text: str, forms: Mapping[str, str], opened: set[str]) -> str:
    """The expression of a part of a pattern; ``opened`` are the placeholders that came before."""
    parts: list[str] = []
    for token in _TOKEN.findall(text):
        name = token.strip("{}")
        if token == "**/":
            parts.append("(?:[^/]+/)*")
        elif token == "*":
            parts.append("[^/]*")
        elif name in _PLACEHOLDERS and token != name:
            form = forms.get(name, _ANY_NAME)
            parts.append(f"(?P={name})" if name in opened else f"(?P<{name}>{form})")
            opened.add(name)
        else:
            parts.append(re.escape(token))
    return "".join(parts)


def _claim(path: str, rules: list[_Rule]) -> tuple[_Rule, dict[str, str]] | None:
    """The rule that ``path`` belongs to and the placeholders' values."""
    whole = nfc(path)
    stem = without_suffix(whole)
    for rule in rules:
        if hit := rule.expression.fullmatch(stem) or rule.expression.fullmatch(whole):
            return rule, _values(hit)
    return None


def _claim_but_for_suffix(path: str, rules: list[_Rule]) -> tuple[_Rule, dict[str, str]] | None:
    """As :func:`_claim`, whatever suffixes the pattern and the path have."""
    stem = without_suffix(nfc(path))
    hits = ((rule, rule.stem.fullmatch(stem)) for rule in rules)
    return next(((rule, _values(hit)) for rule, hit in hits if hit), None)


def _values(hit: re.Match[str]) -> dict[str, str]:
    """The values of the placeholders that the path has."""
    return {name: value for name, value in hit.groupdict().items() if value is not None}


def _roles(pattern: str, patterns: Patterns) -> list[_Role]:
    """The roles of files that match ``pattern``: label map, masks, or channels."""
    if pattern == patterns.label:
        return [("label", "")]
    masks: list[_Role] = [("mask", name) for name, text in patterns.masks.items() if text == pattern]
    return masks or [("channel", name) for name, text in patterns.channels.items() if text == pattern]


def _settle(
    identity: Identity, claims: _Claims, patterns: Patterns, *, subject_in_name: bool
) -> CaseFiles | Stray:
    """Make the case, or say why these files are none."""
    files = claims.files()
    try:
        name = name_of(identity, subject_in_name=subject_in_name, where=files[0])
    except MedsegError as error:
        f = error.finding
        name = join(identity, subject_in_name=subject_in_name)
        return Stray(f.code, f.where, f.details, f.how_to_fix, name, files)

    def stray(code: Code, path: Path, details: str, how_to_fix: str) -> Stray:
        return Stray(code, str(path), details, how_to_fix, name, files)

    if claims.unread:
        path = claims.unread[0]
        how_to_fix = scans.unread_format(path) or "convert it"
        return stray(Code.FORMAT_NOT_READ, path, f"the format {path.suffix.lower()} is not read", how_to_fix)
    for (kind, role), paths in claims.by_role.items():
        if len(paths) > 1:
            details = f"{role or kind}: {' and '.join(map(str, paths))}"
            return stray(Code.DUPLICATE_CASE, paths[1], details, "remove one, or make the pattern narrower")
    channels, masks = claims.of("channel"), claims.of("mask")
    if missing := [c for c in patterns.channels if c not in channels]:
        near = [path for (kind, role), path in claims.near.items() if kind == "channel" and role in missing]
        if near:
            code = Code.CHANNEL_MISSING if channels else Code.LABEL_WITHOUT_IMAGE
            details = f"{near[0].name} has another suffix than the pattern of {missing[0]}"
            return stray(code, near[0], details, "take the suffix out of the pattern, or convert the file")
        if not channels:
            return stray(Code.LABEL_WITHOUT_IMAGE, files[0], "no image of this case", "add the image")
        details = f"no {', '.join(missing)}"
        first = next(iter(channels.values()))
        finding = stray(Code.CHANNEL_MISSING, first, details, "add the file, or drop the channel")
        return replace(finding, missing=tuple(missing))
    if masks and (missing := [m for m in patterns.masks if m not in masks]):
        how_to_fix = "add the file, all 0 if there is none of it in the case"
        first = next(iter(masks.values()))
        return stray(Code.MASK_MISSING, first, f"no {', '.join(missing)}", how_to_fix)
    return CaseFiles(
        name,
        _subject(identity, patterns) or name,
        {c: channels[c] for c in patterns.channels},
        claims.of("label").get(""),
        {m: masks[m] for m in patterns.masks if m in masks},
    )


def _subject(identity: Identity, patterns: Patterns) -> str | None:
    """The subject; with the part, a site, before it where that stands before it in the patterns."""
    text = next(iter(patterns.channels.values()))
    if identity.part is None or identity.subject is None or text.find("{part}") > text.find("{subject}"):
        return identity.subject
    return f"{identity.part}_{identity.subject}"
