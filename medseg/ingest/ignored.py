"""Files that a recipe ignores by name, as other raters' label maps, though a channel's pattern takes them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.ingest.patterns import FolderContents
from medseg.ingest.tree import natural_key, nfc


def matches(name: str, globs: Sequence[str]) -> bool:
    """True if a path below the data folder, with slashes, fits one of the globs."""
    return any(fnmatch.fnmatchcase(nfc(name), nfc(glob)) for glob in globs)


def without(contents: FolderContents, root: Path, globs: Sequence[str]) -> FolderContents:
    """The contents without cases and strays that have a file below ``root`` which a glob matches.

    ``*`` stands for anything, ``/`` too. The files count as ignored.
    """

    def is_ignored(paths: Iterable[Path]) -> bool:
        names = [path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)]
        return any(matches(name, globs) for name in names)

    cases = [case for case in contents.cases if is_ignored(case.paths())]
    strays = [stray for stray in contents.strays if is_ignored(stray.files)]
    if not cases and not strays:
        return contents
    names = {case.name for case in cases} | {stray.case for stray in strays}
    files = {path for case in cases for path in case.paths()} | {p for stray in strays for p in stray.files}
    return replace(
        contents,
        cases=[case for case in contents.cases if case.name not in names],
        strays=[stray for stray in contents.strays if stray.case not in names],
        ignored=sorted({*contents.ignored, *files}, key=lambda path: natural_key(str(path))),
        roles=tuple((name, role) for name, role in contents.roles if name not in names),
    )
