"""Cases of `medseg segment` by patterns: those of the model's recipe, of the command line, or a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.ingest import label_names, layouts
from medseg.ingest.patterns import CaseFiles, FolderContents, Stray
from medseg.io import scans
from medseg.model.description import Description


@dataclass(frozen=True)
class Asked:
    """Patterns of the files of each channel; ``required`` if the user gave them, and not the model folder."""

    channels: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    required: bool = False


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


def asked_for(description: Description, given: Iterable[str]) -> Asked:
    """The patterns `NAME=PATTERN` of the command line, or the model's own; raises USAGE."""
    channels = {}
    for text in given:
        name, equals, pattern = text.partition("=")
        if not equals or not pattern or name not in description.channels:
            how_to_fix = f"give NAME=PATTERN for each of {', '.join(description.channels)}"
            raise MedsegError(Code.USAGE, "--channel", f"{text!r} is no pattern of a channel", how_to_fix)
        channels[name] = pattern
    if not channels:
        return Asked(description.files.channels, description.files.label)
    if lacking := [name for name in description.channels if name not in channels]:
        how_to_fix = f"give one for {', '.join(lacking)}, too"
        raise MedsegError(Code.USAGE, "--channel", "each channel needs a pattern", how_to_fix)
    return Asked(channels, required=True)


def in_folder(root: Path, asked: Asked, description: Description, out: Path) -> Matched | None:
    """The cases that patterns find in a folder; None where the model's own do not fit it.

    The model's patterns fit if they make a case, and, for a single channel, if no scan is left that is not
    named like a label map: such a folder is not organised as the one of the training was. Raises USAGE where
    patterns of the command line find nothing.
    """
    if not asked.channels:
        return None
    try:
        contents = layouts.find(root, "patterns", asked.channels, asked.label, out)
    except MedsegError:
        if asked.required:
            raise
        return None
    others = [path for path in contents.ignored if not label_names.is_label(scans.stem(path))]
    fits = contents.cases and (len(description.channels) > 1 or not others)
    if asked.required and not contents.cases and not contents.strays:
        details = f"no file of {root} matches {', '.join(asked.channels.values())}"
        raise MedsegError(Code.USAGE, "--channel", details, "correct the pattern; paths are relative to IN")
    if not asked.required and not fits:
        return None
    whose = "the patterns of --channel" if asked.required else "the model's own patterns"
    return _matched(contents, f"{whose} ({', '.join(asked.channels.values())})")


def in_table(table: Path, description: Description) -> Matched:
    """The cases of a table with the columns `case` and each channel (or `image`); raises as ingest does."""
    several = len(description.channels) > 1
    columns = {name: name for name in description.channels} if several else None
    contents = layouts.find(table.parent, "csv", columns, None, table=table.name)
    if not several and contents.unit == "mm":
        (name,) = description.channels
        cases = [
            replace(case, channels={name: path}) for case in contents.cases for path in case.channels.values()
        ]
        contents = replace(contents, cases=cases)
    return _matched(contents, f"the table {table}")


def _matched(contents: FolderContents, by: str) -> Matched:
    labels = [path for case in contents.cases for path in case.label_paths]
    left_out = (*labels, *contents.ignored, *contents.unread)
    words = f"{len(contents.cases)} cases by {by}"
    return Matched(tuple(contents.cases), tuple(contents.strays), left_out, words)
