"""Splits: the role of each case in each fold; no subject is in two roles of one fold.

Cases without label maps are `unlabelled`, or by ``needs_labels=False``, for an auto-encoder, like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.ingest import subjects
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.tree import natural_key, nfc

Role = Literal["train", "val", "test", "unlabelled"]

COLUMNS = ("fold", "case", "subject", "role")
_LABELLED: tuple[Role, ...] = ("train", "val", "test")
_RANGE = ".."


@dataclass(frozen=True)
class SplitRow:
    """One case's role in one fold (counted from 0)."""

    fold: int
    case: str
    subject: str
    role: Role


@dataclass(frozen=True)
class Splits:
    """Rows of ``splits.csv``, and names to tell the user about.

    ``excluded``: the split names them, but they are in quarantine. ``unlabelled``: named, but without a
    label map, so they are predicted only. ``left_out``: labelled, but in no role of any fold.
    """

    rows: tuple[SplitRow, ...]
    excluded: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def given(
    cases: Sequence[CaseFiles],
    folds: Sequence[Mapping[str, Sequence[str]]],
    excluded: Collection[str] = (),
    *,
    needs_labels: bool = True,
) -> Splits:
    """Make the splits as they are written: each fold names its train, val and test cases.

    An entry is a case's name, a pattern with ``*`` or ``?``, or a range ``first..last``: in natural
    order where both are equal but for their numbers, otherwise (names that are hashes) by their characters.
    ``excluded`` are the names of cases in quarantine: naming one is no fault. Raises SPLIT_INVALID,
    SUBJECT_ON_BOTH_SIDES.
    """
    if not folds:
        raise _invalid("no fold", "write at least one, or ask for random ones")
    by_name = {case.name: case for case in cases}
    known = sorted({*by_name, *excluded}, key=natural_key)
    rows: list[SplitRow] = []
    named: set[str] = set()
    for fold, entries in enumerate(folds):
        chosen = _chosen(fold, entries, known)
        named.update(*chosen.values())
        for role, names in chosen.items():
            usable = [
                by_name[n]
                for n in names
                if n in by_name and _may_have_role(by_name[n], needs_labels=needs_labels)
            ]
            if names and not usable:
                raise _invalid(
                    f"fold {fold}: no usable case in {role}", "name others, or correct the excluded ones"
                )
            rows += [SplitRow(fold, case.name, case.subject, role) for case in usable]
        rows += _unlabelled_rows(fold, cases, needs_labels=needs_labels)
        if not chosen["train"]:
            raise _invalid(f"fold {fold}: train names no case", "name the cases to train on")
    check(rows)
    usable_names = {name for name, case in by_name.items() if _may_have_role(case, needs_labels=needs_labels)}
    return Splits(
        tuple(rows),
        excluded=_sorted(named - by_name.keys()),
        unlabelled=_sorted(named & by_name.keys() - usable_names),
        left_out=_sorted(usable_names - named),
    )


def listed(
    cases: Sequence[CaseFiles],
    roles: Iterable[tuple[str, str]],
    excluded: Collection[str] = (),
    *,
    needs_labels: bool = True,
) -> Splits:
    """Make one fold of the (case, role) pairs that the data set itself gives, by lists, folders or a table.

    ``excluded`` are the names of cases in quarantine. Raises SPLIT_INVALID where the data give no roles or
    none to train on, SUBJECT_ON_BOTH_SIDES.
    """
    given_roles = [(name, cast("Role", role)) for name, role in roles]
    if not given_roles:
        raise _invalid("the data list no roles", "write data.splits, or choose a layout with lists or {role}")
    by_name = {case.name: case for case in cases}
    usable = {name: case for name, case in by_name.items() if _may_have_role(case, needs_labels=needs_labels)}
    rows = [SplitRow(0, n, usable[n].subject, role) for n, role in given_roles if n in usable]
    rows.sort(key=lambda row: natural_key(row.case))
    rows += _unlabelled_rows(0, cases, needs_labels=needs_labels)
    if not any(row.role == "train" for row in rows):
        details = "the data list no usable case to train on"
        raise _invalid(details, "correct the excluded ones, or write data.splits")
    check(rows)
    named = {name for name, _ in given_roles}
    return Splits(
        tuple(rows),
        excluded=_sorted(named & set(excluded)),
        unlabelled=_sorted(named & by_name.keys() - usable.keys()),
        left_out=_sorted(usable.keys() - named),
    )


def random_folds(
    cases: Sequence[CaseFiles],
    *,
    folds: int = 1,
    val_share: float,
    test_share: float,
    seed: int,
    needs_labels: bool = True,
) -> Splits:
    """Draw splits by subject from ``seed``; the order in which ``cases`` are listed does not matter.

    One fold: shares of the labelled subjects for val and test (at least one each where the share is above 0),
    the rest train. Several folds: each subject is tested in exactly one (``test_share`` is not used), val is
    drawn anew from the others. Raises SPLIT_INVALID if there are too few subjects.
    """
    subjects = sorted(
        {c.subject for c in cases if _may_have_role(c, needs_labels=needs_labels)}, key=natural_key
    )
    order = [subjects[i] for i in np.random.default_rng(seed).permutation(len(subjects))]
    if not order:
        raise _invalid("no labelled case", "label some to train; to label scans use medseg segment")
    n_val, n_test = _count(val_share, len(order)), _count(test_share, len(order))
    if not 1 <= folds <= len(order):
        raise _invalid(f"{folds} folds of {len(order)} labelled subjects", "ask for at most one a subject")
    if folds == 1 and n_val + n_test >= len(order):
        details = f"{len(order)} labelled subjects are too few for {n_test} in test and {n_val} in val"
        raise _invalid(details, "add subjects, or use smaller shares")
    rows: list[SplitRow] = []
    for fold in range(folds):
        tested = order[fold::folds] if folds > 1 else order[:n_test]
        rest = [subject for subject in order if subject not in tested]
        drawn = np.random.default_rng([seed, fold]).permutation(len(rest))[:n_val]
        validated = {rest[i] for i in drawn}
        for case in sorted(cases, key=lambda case: natural_key(case.name)):
            role = _role(case, set(tested), validated, needs_labels=needs_labels)
            rows.append(SplitRow(fold, case.name, case.subject, role))
    check(rows)
    return Splits(tuple(rows))


def all_trained(cases: Sequence[CaseFiles], *, needs_labels: bool = True) -> Splits:
    """Make one fold that trains on every labelled case. Raises SPLIT_INVALID where there is none."""
    ordered = sorted(cases, key=lambda case: natural_key(case.name))
    if not any(_may_have_role(case, needs_labels=needs_labels) for case in ordered):
        raise _invalid("no labelled case", "label some to train; to label scans use medseg segment")
    rows = (
        SplitRow(0, case.name, case.subject, _role(case, (), (), needs_labels=needs_labels))
        for case in ordered
    )
    return Splits(tuple(rows))


def check(rows: Iterable[SplitRow]) -> None:
    """Refuse splits that would flatter or cannot be trained.

    Raises SUBJECT_ON_BOTH_SIDES if a subject is in two of train, val and test in one fold; SPLIT_INVALID if a
    fold has no training case or a role is unknown.
    """
    roles: dict[tuple[int, str], set[str]] = {}
    trained: dict[int, bool] = {}
    for row in rows:
        if row.role not in get_args(Role):
            raise _invalid(
                f"fold {row.fold}: role {row.role!r}", f"choose one of {', '.join(get_args(Role))}"
            )
        trained[row.fold] = trained.get(row.fold, False) or row.role == "train"
        if row.role != "unlabelled":
            roles.setdefault((row.fold, row.subject), set()).add(row.role)
    for fold, has_training in trained.items():
        if not has_training:
            raise _invalid(f"fold {fold}: no case to train on", "name labelled cases, or use smaller shares")
    both = [(fold, subject, words) for (fold, subject), words in roles.items() if len(words) > 1]
    if both:
        fold, subject, words = both[0]
        details = (
            f"{len(both)} subjects, the first in fold {fold}: {subject} in {' and '.join(sorted(words))}"
        )
        how_to_fix = "put all cases of a subject into one role"
        raise MedsegError(Code.SUBJECT_ON_BOTH_SIDES, "splits", details, how_to_fix)


def names_on_both_sides(rows: Sequence[SplitRow]) -> list[tuple[str, str]]:
    """Pairs of cases in different roles of one fold whose names look like one subject's.

    Cases whose subject is known, other than by their own name, are not looked at.
    """
    labelled = [row for row in rows if row.role != "unlabelled" and row.subject == row.case]
    by_name = subjects.guess({row.case for row in labelled})
    if by_name is None:
        return []
    first: dict[tuple[int, str], SplitRow] = {}
    pairs: dict[tuple[str, str], None] = {}
    for row in sorted(labelled, key=lambda row: (row.fold, natural_key(row.case))):
        other = first.setdefault((row.fold, by_name[row.case]), row)
        if other.role != row.role:
            pairs[other.case, row.case] = None
    return list(pairs)


def write(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write ``splits.csv``."""
    files.write_csv(path, COLUMNS, (asdict(row) for row in rows))


def read(path: Path) -> list[SplitRow]:
    """Read ``splits.csv`` and check it; SPLIT_INVALID for other columns, and what :func:`check` raises."""
    try:
        rows = [
            SplitRow(int(row["fold"]), row["case"], row["subject"], cast("Role", row["role"]))
            for row in files.read_csv(path)
        ]
    except (KeyError, ValueError) as error:
        raise MedsegError(
            Code.SPLIT_INVALID, path, str(error), f"give the columns {', '.join(COLUMNS)}"
        ) from error
    check(rows)
    return rows


def _invalid(details: str, how_to_fix: str) -> MedsegError:
    return MedsegError(Code.SPLIT_INVALID, "splits", details, how_to_fix)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=natural_key))


def _chosen(fold: int, entries: Mapping[str, Sequence[str]], known: list[str]) -> dict[Role, list[str]]:
    """Find the names in each role of a fold, each once, in natural order."""
    if wrong := set(entries) - set(_LABELLED):
        raise _invalid(f"fold {fold}: {', '.join(sorted(wrong))}", f"use {', '.join(_LABELLED)}")
    chosen: dict[Role, list[str]] = {}
    for role in _LABELLED:
        names: set[str] = set()
        for entry in entries.get(role, ()):
            hits = _expand(nfc(entry), known)
            if not hits:
                raise _invalid(f"fold {fold}, {role}: no case {entry!r}", "correct the name")
            names.update(hits)
        chosen[role] = sorted(names, key=natural_key)
    return chosen


def _expand(entry: str, known: list[str]) -> list[str]:
    """The known names that an entry means: itself, those its pattern matches, or those in its range."""
    if entry in known:
        return [entry]
    if _RANGE in entry:
        first, last = (end.strip() for end in entry.split(_RANGE, 1))
        key: Callable[[str], Any] = natural_key if _without_numbers(first) == _without_numbers(last) else str
        return [name for name in known if key(first) <= key(name) <= key(last)]
    return [name for name in known if fnmatchcase(name, entry)]


def _may_have_role(case: CaseFiles, *, needs_labels: bool) -> bool:
    """True if a case can be trained on, validated or scored; an auto-encoder needs no label for that."""
    return bool(case.label_paths) or not needs_labels


def _unlabelled_rows(
    fold: int,
    cases: Iterable[CaseFiles],
    *,
    needs_labels: bool,
) -> list[SplitRow]:
    return [
        SplitRow(fold, case.name, case.subject, "unlabelled")
        for case in cases
        if not _may_have_role(case, needs_labels=needs_labels)
    ]


def _count(share: float, subjects: int) -> int:
    if not 0 <= share < 1:
        raise _invalid(f"share {share:g}", "give at least 0 and less than 1")
    return max(1, round(share * subjects)) if share > 0 else 0


def _role(
    case: CaseFiles,
    tested: Collection[str],
    validated: Collection[str],
    *,
    needs_labels: bool,
) -> Role:
    if not _may_have_role(case, needs_labels=needs_labels):
        return "unlabelled"
    if case.subject in tested:
        return "test"
    return "val" if case.subject in validated else "train"


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)
