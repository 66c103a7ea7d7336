"""The files of a data folder, sorted into those that are read, image formats that are not, and all others."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg import files
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.io import scans
from medseg.limits import MAX_DEPTH

_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_READ = (*scans.SUFFIXES, *scans.SUFFIXES_OF["px"])
_OF_MACOS = "__MACOSX"
"""A folder in archives that macOS made: no file in it is a scan, whatever its name."""

_UNREAD = tuple(scans.UNREAD_FORMATS)


@dataclass(frozen=True)
class Tree:
    """The files below a folder, as relative paths with slashes in natural order.

    ``files`` are its scans (mm) or its images (px), ``unread`` those of image formats that are known but not
    read, ``others`` the rest, images beside scans among them.
    """

    unit: scans.Unit
    files: list[str]
    unread: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts ``case2`` before ``case10``."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def without_zeros(text: str) -> str:
    """``text`` with its numbers as they are counted: ``img_007`` as ``img_7``."""
    return _ZEROS.sub("", text)


def nfc(text: str) -> str:
    """``text`` in Unicode's NFC form, in which names are compared: macOS may have written ``ü`` as two."""
    return unicodedata.normalize("NFC", text)


def without_suffix(path: str) -> str:
    """A relative path without the suffix of a known format: ``p/a.nii.bz2`` → ``p/a``."""
    folder, slash, name = path.rpartition("/")
    lower = name.lower()
    if lower.endswith(_UNREAD) and not lower.endswith(_READ):
        longest = max((suffix for suffix in _UNREAD if lower.endswith(suffix)), key=len)
        return folder + slash + (name[: -len(longest)] or name)
    return folder + slash + scans.stem(Path(name))


Without = Path | Collection[Path] | None
"""Folders that are not entered, such as the one where results are written."""


def files_under(root: Path, without: Without = None, refused: list[Finding] | None = None) -> list[str]:
    """All files below ``root`` as relative paths with slashes in natural order; hidden folders left out.

    Broken links count as files, and so does a folder that is named like a scan and holds none: whoever reads
    them says what is wrong. Links to folders are followed, each folder once; those ``without`` are not
    entered. Raises PATH_MISSING. A folder that cannot be listed (FILE_UNREADABLE), or lies too deep
    (TOO_LARGE), is raised, or added to ``refused`` and passed over.
    """
    if not root.is_dir():
        raise MedsegError(Code.PATH_MISSING, root, files.why_no_folder(root), "correct the path to the data")
    paths: list[Path] = []
    named_like_scans: list[Path] = []
    for folder, inner, names in _walk(root, without, _raise if refused is None else refused.append):
        paths += [Path(folder, name) for name in names]
        named_like_scans += [path for name in inner if _is_scan(path := Path(folder, name))]
    with_scans = {parent for path in paths if _is_scan(path) for parent in path.parents}
    paths += [path for path in named_like_scans if path not in with_scans]
    return sorted((path.relative_to(root).as_posix() for path in paths), key=natural_key)


def refused_under(root: Path, without: Without = None) -> list[Finding]:
    """Give what :func:`files_under` would raise for folders below ``root``; ``where`` is the folder."""
    refused: list[Finding] = []
    for _ in _walk(root, without, refused.append):
        pass
    return [finding for finding in refused if Path(finding.where) != root]


def _raise(finding: Finding) -> None:
    raise refusal([finding])


def _walk(
    root: Path, without: Without, refuse: Callable[[Finding], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder with the names of its folders and files, as :func:`files_under` goes through them.

    A folder that has gone since its name was read is none.
    """
    closed = {
        os.path.realpath(folder) for folder in ([without] if isinstance(without, Path) else without or ())
    }
    entered = set(closed)

    def tell(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            refuse(_unlisted(error))

    for folder, inner, names in os.walk(root, followlinks=True, onerror=tell):
        if (real := os.path.realpath(folder)) in entered:
            inner.clear()
            continue
        entered.add(real)
        shown = (name for name in inner if not name.startswith(".") and name != _OF_MACOS)
        # A closed folder is not even opened: it may be one that cannot be.
        inner[:] = sorted(name for name in shown if os.path.realpath(Path(folder, name)) not in closed)
        if inner and len(Path(folder).relative_to(root).parts) >= MAX_DEPTH:
            refuse(_too_deep(folder))
            inner.clear()
        yield folder, inner, names


def tree_of(
    root: Path,
    without: Without = None,
    channels: Mapping[str, str] | None = None,
    refused: list[Finding] | None = None,
) -> Tree:
    """Sort the files below ``root``, except in ``without``, and tell a folder of scans from one of images.

    The suffixes of the channels' patterns decide; without any, a folder with a single scan is one of scans.
    Raises what :func:`files_under` raises, and NOTHING_USABLE where there is neither.
    """
    everything = files_under(root, without, refused)
    units: tuple[scans.Unit, ...] = ("mm", "px")
    for texts in (list((channels or {}).values()), everything):
        for unit in units:
            if any(scans.detect_kind(Path(text)) == unit for text in texts):
                tree = sorted_tree(root, everything, unit)
                if tree.files:
                    return tree
    tree = sorted_tree(root, everything, "mm")
    how_to_fix = f"name a folder with files of {' '.join(_READ)}"
    raise nothing_read(root, "scan or image", [root / path for path in tree.unread], how_to_fix)


def nothing_read(where: object, noun: str, unread: Sequence[Path], how_to_fix: str) -> MedsegError:
    """NOTHING_USABLE where there is no scan or image, or none but files of formats that are not read."""
    details = f"no {noun}"
    if unread:
        how_to_fix = scans.unread_format(unread[0]) or how_to_fix
        details = f"no {noun} that is read: {count_by_suffix(path.name for path in unread)} only"
    return MedsegError(Code.NOTHING_USABLE, where, details, how_to_fix)


def sorted_tree(root: Path, everything: Iterable[str], unit: scans.Unit) -> Tree:
    """Sort relative paths below ``root``; hidden files are in none of the lists."""
    tree = Tree(unit, [])
    for path in everything:
        if path.rpartition("/")[2].startswith("."):
            continue
        if scans.detect_kind(Path(path)) == unit:
            tree.files.append(path)
        elif scans.unread_format(root / path):
            tree.unread.append(path)
        else:
            tree.others.append(path)
    return tree


def common_start(names: Iterable[str]) -> str:
    """The characters that all names begin with."""
    every = list(names)
    first, last = min(every, default=""), max(every, default="")
    same = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def count_by_suffix(paths: Iterable[str]) -> str:
    """``3 .txt, 1 .json``: how many files there are of each suffix, the most frequent first."""
    counts = Counter(path[len(without_suffix(path)) :].lower() or "without suffix" for path in paths)
    return ", ".join(f"{counts[s]} {s}" for s in sorted(counts, key=lambda s: (-counts[s], s)))


def _is_scan(path: Path) -> bool:
    return scans.detect_kind(path) == "mm"


def _unlisted(error: OSError) -> Finding:
    details = error.strerror or "cannot be listed"
    return Finding(Code.FILE_UNREADABLE, str(error.filename), details, "check its permissions")


def _too_deep(folder: str) -> Finding:
    details = f"more than {MAX_DEPTH} folders inside one another; what is further below was not read"
    return Finding(Code.TOO_LARGE, folder, details, "name a folder further below")
