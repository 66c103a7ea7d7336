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

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medseg.errors import Code, Finding, MedsegError
from medseg.ingest.identity import Identity, in_one_name, join, name_of, names_begin_anew
from medseg.ingest.pattern_rules import ROLES, Patterns, Role, Rule, claim_but_for_suffix, claim_of, compiled
from medseg.ingest.tree import Tree, natural_key
from medseg.io import scans

__all__ = ["CLASS", "CaseFiles", "FolderContents", "Patterns", "Stray", "match", "of_classes"]

CLASS = "{class}"
"""In the label's pattern of a recipe: the name of a class, each of which has a file of its own."""


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


@dataclass
class _Claims:
    """The files that claim one case, by role.

    ``unread`` are those of formats that are not read, ``near`` those that differ from a pattern in their
    suffix.
    """

    by_role: dict[Role, list[Path]] = field(default_factory=dict)
    unread: list[Path] = field(default_factory=list)
    near: dict[Role, Path] = field(default_factory=dict)
    role_words: set[str] = field(default_factory=set)

    def add(self, rule: Rule, path: Path) -> None:
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
    Cases that differ in leading zeros alone are one where no file is double: label map 007 of image 7.
    Strays: LABEL_WITHOUT_IMAGE, CHANNEL_MISSING, MASK_MISSING, DUPLICATE_CASE, NAME_INVALID, and
    FORMAT_NOT_READ for files of formats without a reader that a pattern would match if it were for their
    suffix. An image without a label, or without any of the masks, is a case.
    Raises RECIPE_INVALID for patterns that cannot work.
    """
    rules = compiled(patterns)
    claimed = {path: claim for path in tree.files if (claim := claim_of(path, rules))}
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
        if claim := claim_but_for_suffix(path, rules):
            rule, fields = claim
            if near_to := claims.get(identity_of(fields)):
                near_to.near |= dict.fromkeys(rule.roles, root / path)
    _join_numbers(claims)
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


def _join_numbers(claims: dict[Identity, _Claims]) -> None:
    """Join cases that differ in leading zeros alone and lack what the other has: label map 007 of image 7."""
    alike: dict[Identity, list[Identity]] = defaultdict(list)
    for identity in claims:
        alike[identity.without_zeros()].append(identity)
    for same in alike.values():
        roles = [role for identity in same for role in claims[identity].by_role]
        if len(set(roles)) < len(roles) or any(claims[identity].unread for identity in same):
            continue
        first, *others = sorted(same, key=lambda identity: not claims[identity].of("channel"))
        for other in others:
            claims[first].by_role |= claims[other].by_role
            claims[first].role_words |= claims.pop(other).role_words


def _claim_unread(
    root: Path,
    tree: Tree,
    rules: list[Rule],
    claims: dict[Identity, _Claims],
    identity_of: Callable[[Mapping[str, str]], Identity],
) -> list[Path]:
    """Give files of formats that are not read to the cases that lack them; return those of no case."""
    unread = []
    for path in tree.unread:
        claim = claim_but_for_suffix(path, rules) if scans.unread_kind(root / path) == tree.unit else None
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
