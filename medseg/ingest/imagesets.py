"""The layouts of image sets: patterns for each, and the lists in which a set names its cases and their roles.

camvid      SegNet's: train/ beside trainannot/, and so on; or the original with a colour for each class

A list's lines may hold paths of another machine: they are understood by their file names. Where a set has
lists its cases are those listed, and other images are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.errors import Code, MedsegError
from medseg.ingest.patterns import (
    ROLES,
    CaseFiles,
    Found,
    Patterns,
    Stray,
    files_under,
    match,
    natural_key,
    without_suffix,
)
from medseg.io import scans

ImageSet = Literal["camvid"]

COLOURS = ("red", "green", "blue")
"""The channels of a picture, in the order of its file."""


@dataclass(frozen=True)
class _Set:
    """How a set lies: where its pictures and masks are, and the pattern of its lists, if it has any."""

    image: str
    label: str
    lists: Callable[[str], str | None] | None = None


def find(
    root: Path,
    layout: str,
    channels: Mapping[str, str] | None = None,
    label: str | None = None,
    without: Path | None = None,
) -> Found:
    """Find the cases of an image set below ``root``; given patterns replace the set's own.

    Raises PATH_MISSING, NOTHING_USABLE (no picture at all), RECIPE_INVALID.
    """
    everything = files_under(root, without)
    tree = [path for path in everything if scans.is_picture(Path(path))]
    if not tree:
        remedy = f"name a folder with files of {' '.join(scans.SUFFIXES_OF['px'])}"
        raise MedsegError(Code.NOTHING_USABLE, root, "no picture", remedy)
    about = _SETS[layout](tree)
    patterns = Patterns(channels or dict.fromkeys(COLOURS, about.image), label or about.label)
    found = replace(match(root, tree, patterns, layout), unit="px")
    lists = [(path, role) for path in everything if about.lists and (role := about.lists(path))]
    return _as_listed(root, found, lists) if lists else found


# Lists


def _as_listed(root: Path, found: Found, lists: Sequence[tuple[str, str]]) -> Found:
    """Only the cases that the lists name, with their roles; what is listed but absent is a stray."""
    listed: dict[str, str] = {}
    roles: set[tuple[str, str]] = set()
    for path, role in lists:
        for name in _names(root / path):
            listed.setdefault(name, path)
            roles.add((name, role))
    cases = [case for case in found.cases if case.name in listed]
    strays = [stray for stray in found.strays if stray.case in listed]
    left = [case for case in found.cases if case.name not in listed]
    known = {case.name for case in cases} | {stray.case for stray in strays}
    strays += [_absent(root / listed[name], name, "no image of this name") for name in listed.keys() - known]
    to_train = {name for name, role in roles if role != "test"}
    for case in [case for case in cases if case.label is None and case.name in to_train]:
        cases.remove(case)
        held = tuple(dict.fromkeys(case.channels.values()))
        strays.append(_absent(root / listed[case.name], case.name, "no mask of this name", held))
    strays.sort(key=lambda stray: natural_key(stray.case))
    unlisted = [path for case in left for path in _files(case)]
    unlisted += [path for stray in found.strays if stray.case not in listed for path in stray.files]
    ignored = sorted({*found.ignored, *unlisted})
    return replace(found, cases=cases, strays=strays, ignored=ignored, roles=tuple(sorted(roles)))


def _names(path: Path) -> list[str]:
    """The cases of a list: the file name, without suffix, of each line's first word."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MedsegError(Code.FILE_UNREADABLE, path, str(error), "copy the list again") from error
    words = [line.split()[0].replace("\\", "/") for line in lines if line.split()]
    return list(dict.fromkeys(without_suffix(word.rpartition("/")[2]) for word in words))


def _absent(path: Path, name: str, found: str, held: tuple[Path, ...] = ()) -> Stray:
    return Stray(
        Code.FILE_MISSING, str(path), f"lists {name}: {found}", "copy the file, or unlist it", name, held
    )


def _files(case: CaseFiles) -> set[Path]:
    return {*case.channels.values(), *([] if case.label is None else [case.label])}


# The sets


def _camvid(tree: Sequence[str]) -> _Set:
    if any("LabeledApproved_full/" in path for path in tree):
        return _Set("**/701_StillsRaw_full/{case}", "**/LabeledApproved_full/{case}_L", _list_by_name)
    return _Set("**/{role}/{case}", "**/{role}annot/{case}", _list_by_name)


def _list_by_name(path: str) -> str | None:
    """train.txt, val.txt and test.txt, wherever they lie."""
    name = path.rpartition("/")[2]
    return ROLES.get(name.removesuffix(".txt")) if name.endswith(".txt") else None


_SETS: dict[str, Callable[[Sequence[str]], _Set]] = {"camvid": _camvid}
