"""Cases of `medseg segment` by patterns: of the model, the command line or a recipe; or by a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import Code, MedsegError
from medseg.ingest import ignored, label_names, layouts
from medseg.ingest.layouts import Layout
from medseg.ingest.patterns import CaseFiles, FolderContents, Stray
from medseg.ingest.tree import nfc
from medseg.io import scans
from medseg.model.description import Description

if TYPE_CHECKING:
    from medseg.config.data import Data


_BETWEEN_WORDS = re.compile(r"[\W_]")


@dataclass(frozen=True)
class Asked:
    """Layout of the folders and patterns of the files of each channel, from what ``whose`` says.

    ``required`` if the user gave them, by ``option``, and not the model folder.
    """

    channels: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    required: bool = False
    layout: Layout = "patterns"
    masks: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    table: str | None = None
    whose: str = "the model's own patterns"
    option: str = "--channel"


@dataclass(frozen=True)
class Matched:
    """Cases of a folder or table, those that cannot be made, and its files that belong to none."""

    cases: tuple[CaseFiles, ...]
    strays: tuple[Stray, ...]
    left_out: tuple[Path, ...]
    words: str

    def without(self, settled: Callable[[Path], bool]) -> Matched:
        """Leave out what has files that are not settled."""
        cases = tuple(case for case in self.cases if all(map(settled, case.channels.values())))
        strays = tuple(stray for stray in self.strays if all(map(settled, stray.files)))
        return replace(self, cases=cases, strays=strays)

    def files(self) -> list[Path]:
        """The files of its cases, those that cannot be made among them."""
        of_cases = [path for case in self.cases for path in case.channels.values()]
        return [*of_cases, *(path for stray in self.strays for path in stray.files)]


def data_of(recipe: str | None) -> Data | None:
    """The section `data` of the recipe that `--recipe` names; raises as :func:`medseg.config.load.load`."""
    if recipe is None:
        return None
    from medseg.config import load  # most runs need no recipe, and begin sooner without

    return load.load(recipe).data


def asked_for(description: Description, given: Iterable[str], recipe: Data | None = None) -> Asked:
    """The patterns `NAME=PATTERN` of the command line, a recipe's, or the model's own; raises USAGE."""
    given = list(given)
    if recipe is not None:
        if given:
            details = "--recipe names the files already"
            raise MedsegError(Code.USAGE, "--channel", details, "leave one of them out")
        return _of_recipe(description, recipe)
    channels = {}
    for text in given:
        name, equals, pattern = text.partition("=")
        if not equals or not pattern or name not in description.channels:
            how_to_fix = f"give NAME=PATTERN for each of {', '.join(description.channels)}"
            raise MedsegError(Code.USAGE, "--channel", f"{text!r} is no pattern of a channel", how_to_fix)
        channels[name] = pattern
    if not channels:
        known = description.files
        return Asked(known.channels, known.label, layout=known.layout, masks=known.masks, ignore=known.ignore)
    if lacking := [name for name in description.channels if name not in channels]:
        how_to_fix = f"give one for {', '.join(lacking)}, too"
        raise MedsegError(Code.USAGE, "--channel", "each channel needs a pattern", how_to_fix)
    return Asked(channels, required=True, whose="the patterns of --channel")


def _of_recipe(description: Description, data: Data) -> Asked:
    """The layout and patterns of a recipe, whose channels must be those of the model; raises USAGE."""
    named = [*data.channels] or [*data.series]
    if named and len(description.channels) > 1 and not set(named) >= set(description.channels):
        details = f"its channels are {', '.join(named)}, the model's {', '.join(description.channels)}"
        raise MedsegError(Code.USAGE, "--recipe", details, "name a recipe with the model's channels")
    return Asked(
        {} if data.layout == "dicom" else data.channels,
        data.label_pattern,
        required=True,
        layout=data.layout,
        masks=data.mask_patterns,
        ignore=data.ignore,
        table=data.table,
        whose="the recipe",
        option="--recipe",
    )


def in_folder(
    root: Path, asked: Asked, description: Description, without: Collection[Path]
) -> Matched | None:
    """The cases that patterns find in a folder; None where the model's own do not fit it.

    The model's patterns fit if they make a case, and, for a single channel, if each scan that is left is
    named like a label map, or lies beside a case that has its name: any other scan says that the folder is
    not organised as the one of the training was. Where they do not, they are tried in the folder below that
    holds the data set, as `medseg init` does. The folders `without` are not entered. Raises USAGE where
    patterns of the user find nothing.
    """
    if asked.layout == "dicom" or not (asked.channels or asked.required):
        return None
    if asked.required:
        return _by_patterns(root, asked, description, without)
    try:
        below = layouts.data_set_below(root, without)
        folders = dict.fromkeys((root, below))
    except MedsegError:
        return None
    return next(filter(None, (_if_fitting(folder, asked, description, without) for folder in folders)), None)


def _by_patterns(root: Path, asked: Asked, description: Description, without: Collection[Path]) -> Matched:
    """The cases by the user's patterns; raises USAGE without any, and what :func:`layouts.find` raises."""
    contents = ignored.without(_found(root, asked, without), root, asked.ignore)
    if not contents.cases and not contents.strays:
        details = f"no file of {root} matches {', '.join(asked.channels.values()) or asked.layout}"
        raise MedsegError(Code.USAGE, asked.option, details, "correct the pattern; paths are relative to IN")
    return _with_words(contents, asked, description)


def _if_fitting(
    root: Path, asked: Asked, description: Description, without: Collection[Path]
) -> Matched | None:
    """The cases by the model's own patterns; None where they do not fit. What they ignore by name fits."""
    try:
        everything = _found(root, asked, without)
    except MedsegError:
        return None
    contents = ignored.without(everything, root, asked.ignore)
    others = [path for path in everything.ignored if not label_names.is_label(scans.stem(path))]
    if contents.cases and (len(description.channels) > 1 or _are_of_cases(others, contents.cases, root)):
        return _with_words(contents, asked, description)
    return None


def _found(root: Path, asked: Asked, without: Collection[Path]) -> FolderContents:
    channels = asked.channels or None
    return layouts.find(root, asked.layout, channels, asked.label, without, asked.table, asked.masks)


def _with_words(contents: FolderContents, asked: Asked, description: Description) -> Matched:
    patterns = ", ".join(contents.patterns.channels.values()) or f"layout {contents.layout}"
    return _matched(_renamed(contents, description), f"{asked.whose} ({patterns})")


def _are_of_cases(others: Iterable[Path], cases: Iterable[CaseFiles], root: Path) -> bool:
    """True if all other files below ``root`` are further ones of the cases, as copies without the skull.

    Such a file lies in the folder of one case alone, or a case or subject stands in its path as whole words.
    """
    folders = Counter(folder for case in cases for folder in {path.parent for path in case.paths()})
    names = {name for case in cases for name in (case.name, case.subject)}

    def holds_name(part: str) -> bool:
        starts = [0, *(hit.end() for hit in _BETWEEN_WORDS.finditer(part))]
        ends = [*(hit.start() for hit in _BETWEEN_WORDS.finditer(part)), len(part)]
        return any(part[start:end] in names for start in starts for end in ends if start < end)

    del folders[root]
    return all(
        folders[path.parent] == 1 or any(map(holds_name, map(nfc, path.relative_to(root).parts)))
        for path in others
    )


def _renamed(contents: FolderContents, description: Description) -> FolderContents:
    """Name the channel of scans as a model with one channel does, whatever the layout or recipe calls it."""
    if len(description.channels) > 1 or contents.unit != "mm":
        return contents
    (name,) = description.channels

    def renamed(case: CaseFiles) -> CaseFiles:
        (path, *others) = case.channels.values()
        return case if others else replace(case, channels={name: path})

    return replace(contents, cases=list(map(renamed, contents.cases)))


def in_table(table: Path, description: Description) -> Matched:
    """The cases of a table with the columns `case` and each channel (or `image`); raises as ingest does."""
    several = len(description.channels) > 1
    columns = {name: name for name in description.channels} if several else None
    contents = layouts.find(table.parent, "csv", columns, None, table=table.name)
    return _matched(_renamed(contents, description), f"the table {table}")


def _matched(contents: FolderContents, by: str) -> Matched:
    labels = [path for case in contents.cases for path in case.label_paths]
    left_out = (*labels, *contents.ignored, *contents.unread)
    count = len(contents.cases)
    words = f"{count} case{'' if count == 1 else 's'} by {by}"
    return Matched(tuple(contents.cases), tuple(contents.strays), left_out, words)
