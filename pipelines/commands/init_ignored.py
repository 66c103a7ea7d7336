"""`medseg init`: files that a channel's pattern takes for cases, and that are none: series, scans' copies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.grid import Grid, axis_order
from medseg.ingest import ignored, layouts
from medseg.ingest.layouts import CaseFiles, FolderContents, Guess
from medseg.ingest.looks import Looks
from medseg.ingest.tree import without_suffix

_TRIED = 8
_FEW = 12
_BEFORE = re.compile(r"s?(?:m?w|w?m|r|i)?(?:r?[cp][0-6]|i)?_?|i?y_|u_rc1_?")
"""What SPM and CAT write before the name of a scan: c1, m, wm, rc1, smwc1, mwp1, mi, y_."""

_OFTEN = 0.5


def without_series(guess: Guess, data: Path, contents: FolderContents, looks: Looks) -> Guess:
    """The guess without unlabelled cases of several volumes, by the word at their end: a heart's ``_4d``.

    Where channels are volumes of one file, all cases are such files.
    """
    if guess.unit == "px" or len({*guess.channels.values()}) < len(guess.channels):
        return guess
    globs = [glob for glob, paths in _endings(data, contents).items() if _are_series(paths, looks)]
    kept = ignored.without(contents, data, globs)
    labelled = sum(bool(case.label_paths) for case in kept.cases)
    if not globs or not kept.cases or labelled < guess.n_labelled:
        return guess
    remark = f"{', '.join(globs)} hold several volumes each, and are ignored: data.ignore"
    return replace(
        guess,
        ignore=(*guess.ignore, *globs),
        n_cases=len(kept.cases),
        n_other=layouts.n_other(kept),
        remarks=(*guess.remarks, remark),
    )


def _endings(data: Path, contents: FolderContents) -> dict[str, list[str]]:
    """Globs of unlabelled cases by their last word, with the files; of many cases shared words alone."""
    globs: dict[str, list[str]] = defaultdict(list)
    for case in contents.cases:
        for path in () if case.label_paths else case.channels.values():
            relative = path.relative_to(data).as_posix()
            if hit := re.search(r"(?:^|[/_\-. ])[^/_\-. *?\[\]]+$", without_suffix(relative)):
                globs[f"*{hit[0]}.*"].append(relative)
    few = len(contents.cases) <= _FEW
    return {glob: paths for glob, paths in globs.items() if few or len(paths) > 1}


def _are_series(paths: Sequence[str], looks: Looks) -> bool:
    return all(looks.at(path).is_series for path in paths[:_TRIED])


def without_copies(guess: Guess, data: Path, contents: FolderContents, looks: Looks) -> Guess:
    """The guess without unlabelled cases called like labelled ones with a program's prefix: ``c1s07``.

    They lie on the grids of those scans, or all on one, a template's.
    """
    labelled = {case.name: case for case in contents.cases if case.label_paths}
    copies: dict[str, list[CaseFiles]] = defaultdict(list)
    for case in contents.cases:
        if not case.label_paths and (before := _before(case.name, labelled)):
            copies[before].append(case)
    copies = {
        before: cases
        for before, cases in copies.items()
        if len(cases) >= max(2, _OFTEN * len(labelled))
        and _are_made_from([(case, labelled[case.name.removeprefix(before)]) for case in cases], data, looks)
    }
    below = any(path.parent != data for cases in copies.values() for path in cases[0].channels.values())
    folders = "*/" if below else ""
    globs = [f"{folders}{before}*" for before in sorted(copies)]
    kept = ignored.without(contents, data, globs)
    if not globs or {case.name for case in kept.cases if case.label_paths} != labelled.keys():
        return guess
    subject, subject_remark = layouts.guess_subject(kept)
    remark = (
        f"{', '.join(globs)} are called like labelled scans with a prefix, as what SPM makes of them, and are"
    )
    return replace(
        guess,
        ignore=(*guess.ignore, *globs),
        n_cases=len(kept.cases),
        n_other=layouts.n_other(kept),
        subject=guess.subject and subject,
        subject_remark=subject_remark,
        remarks=(*guess.remarks, f"{remark} ignored: data.ignore"),
    )


def _are_made_from(pairs: Sequence[tuple[CaseFiles, CaseFiles]], data: Path, looks: Looks) -> bool:
    """True if cases lie on the grids of the scans that they may be made from, or all on one grid."""

    def grid(case: CaseFiles) -> Grid | None:
        return looks.at(next(iter(case.channels.values())).relative_to(data).as_posix()).grid

    grids = [(grid(copy), grid(scan)) for copy, scan in pairs[:_TRIED]]
    return all(map(_is_same, *zip(*grids, strict=True))) or all(
        _is_same(grids[0][0], own) for own, _ in grids
    )


def _is_same(a: Grid | None, b: Grid | None) -> bool:
    return a is not None and b is not None and axis_order(a, b) is not None


def _before(name: str, labelled: Collection[str]) -> str | None:
    """The text, as programs write it, before a labelled case's name at the end of this one; None without.

    Letters before a number are a name of its own: ``s07``.
    """
    starts = (name[:i] for i in range(1, len(name)) if name[i:] in labelled and not name[i].isdigit())
    return next((start for start in starts if _BEFORE.fullmatch(start)), None)
