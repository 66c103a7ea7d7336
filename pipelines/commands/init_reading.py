"""`medseg init`: choose between the readings of a folder, by its layout's names and by its files' content."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.classes import BACKGROUND
from medseg.errors import Code, MedsegError, some
from medseg.grid import Grid, axis_order
from medseg.ingest import (
    by_content,
    dataset_json,
    ignored,
    imagesets,
    layouts,
    one_subject,
    placeholders,
)
from medseg.ingest.label_templates import MOST_CASES, counted_as, is_second_choice
from medseg.ingest.layouts import CaseFiles, FolderContents, Guess
from medseg.ingest.looks import Kind, Look, Looks
from medseg.ingest.patterns import Patterns, of_classes
from medseg.ingest.tree import Tree, nfc, tree_of, without_suffix
from pipelines.commands import init_ignored

_ANY_FOLDER = re.compile(r"(?<!\*)\*/")
"""A folder that a pattern passes over: in ``*/{case}`` the person's, whose visits are the cases."""

_NOT_TOLD_APART = (
    "no word in their names tells images from label maps in all cases, so that no pattern can: name all"
    " images alike, and all label maps, or list them in a table (layout csv)"
)
_OFTEN = 0.5
_TRIED = 8
_SHOWN = 12
_NOTHING = by_content.Reading(None)
_NOUNS: dict[Kind, str] = {
    "image": "image",
    "label": "label map",
    "empty": "empty label map",
    "unread": "unreadable file",
}


@dataclass(frozen=True)
class Given:
    """Patterns of the command line: channel name → pattern, and the label maps'; both may be left out.

    A pattern has placeholders, as recipes have, or is a glob of paths or names: ``*_t1.nii.gz``.
    """

    channels: Mapping[str, str]
    label: str | None = None


def read(data: Path, given: Given, known: Mapping[str, Look] | None = None) -> Guess:
    """The folder's reading with most labelled cases; the layout's where two are equal.

    ``known`` are looks at files that were read before, by relative path. Raises what
    :func:`layouts.guess` raises; RECIPE_INVALID or USAGE for given patterns that cannot work.
    """
    tree = tree_of(data, channels=given.channels)
    looks = Looks(data, known)
    if given.channels or given.label:
        guess = _as_given(data, tree, looks, given)
    else:
        guess = _by_layout_or_content(data, tree, looks)
    contents = find(data, guess)
    if guess.subject is None and (own := one_subject.find(data, contents)):
        guess = _of_one_subject(guess, own)
    guess = init_ignored.without_series(guess, data, contents, looks)
    guess = init_ignored.without_copies(guess, data, find(data, guess), looks)
    below = [path for path in tree.others if path.endswith(f"/{dataset_json.NAME}")]
    if below:
        folder = data / below[0].rpartition("/")[0]
        remark = f"{below[0]} is not read: name {folder} to use its channels, classes and regions"
        guess = replace(guess, remarks=(*guess.remarks, remark))
    return guess if guess.n_labelled else replace(guess, seen=_seen(tree, looks))


def _of_one_subject(guess: Guess, own: one_subject.OneSubject) -> Guess:
    """The guess with the one subject in its patterns, or by its name."""
    guess = replace(guess, subject=own.name, remarks=(*guess.remarks, own.remark))
    if own.patterns is None:
        return guess
    written = own.patterns
    return replace(
        guess,
        layout="patterns",
        channels=dict(written.channels),
        label=written.label,
        masks=written.masks,
    )


def _by_layout_or_content(data: Path, tree: Tree, looks: Looks) -> Guess:
    by_layout = _named_by_contrast(layouts.guess(data))
    is_of_images = tree.unit == "px" and not _is_at_any_depth(by_layout)
    if by_layout.n_labelled and (is_of_images or by_layout.layout == "decathlon"):
        return by_layout  # a set's own lists and names say more than the files' words
    reading = by_content.read([nfc(path) for path in tree.files], looks)
    if reading.patterns is None:
        guess = _unless_unusable(data, by_layout, looks)
        reasons = () if guess.n_labelled else reading.remarks
        return replace(guess, remarks=(*by_layout.remarks, *reasons))
    content = _of_patterns(data, reading.patterns, reading)
    if not reading.is_whole:
        return content
    first, second = _usable(data, by_layout, looks), _usable(data, content, looks)
    more_channels = len(content.channels) - len(by_layout.channels)
    if content.roles > by_layout.roles and second >= first:
        return content
    if second and _takes_label_maps(data, by_layout, content):
        return content
    if second >= MOST_CASES * first and _has_better_labels(content, by_layout):
        return content
    is_better = second == first and (
        (more_channels == 0 and _tells_more(content, by_layout))
        or _is_stricter(content, by_layout, reading)
        or _names_contrast(content, by_layout)
    )
    if second > first or is_better or (more_channels > 0 and second >= MOST_CASES * first):
        return content
    if (content.label, {*content.channels.values()}) == (by_layout.label, {*by_layout.channels.values()}):
        # the same patterns, channels by their contrasts
        return replace(by_layout, channels=content.channels, remarks=(*by_layout.remarks, *reading.remarks))
    if not second:
        other: tuple[str, ...] = () if first else (_NOT_TOLD_APART,)
    else:
        is_worth = more_channels > 0 or second >= _OFTEN * first
        other = (_told(content),) if is_worth and not _same_cases(content, by_layout) else ()
    return replace(
        by_layout, n_labelled=by_layout.n_labelled if first else 0, remarks=(*by_layout.remarks, *other)
    )


def _takes_label_maps(data: Path, by_layout: Guess, content: Guess) -> bool:
    """True if the layout's reading has images that are label maps by their content."""
    if not by_layout.n_labelled:
        return False
    images = {path for case in find(data, by_layout).cases for path in case.channels.values()}
    return any(path in images for case in find(data, content).cases for path in case.label_paths)


def _has_better_labels(content: Guess, by_layout: Guess) -> bool:
    """True if the layout's label maps are a program's, or brain masks, and those read by content are not."""
    labels = by_layout.label, content.label
    return all(labels) and [is_second_choice(without_suffix(text or "")) for text in labels] == [True, False]


def _named_by_contrast(guess: Guess) -> Guess:
    """The guess with the only channel of scans called by its contrast, where its pattern says it."""
    if [*guess.channels] != ["image"]:
        return guess
    ((_, pattern),) = guess.channels.items()
    (name,) = placeholders.channel_names([without_suffix(pattern)])
    return replace(guess, channels={name: pattern})


def _unless_unusable(data: Path, guess: Guess, looks: Looks) -> Guess:
    """The guess, as one without labelled cases where no label map is what it should be."""
    return guess if _usable(data, guess, looks) else replace(guess, n_labelled=0)


def _tells_more(content: Guess, by_layout: Guess) -> bool:
    """True if the reading by content tells cases by other placeholders, and by several."""
    own = _placeholders(content)
    leaves_out = any(_ANY_FOLDER.search(text) for text in by_layout.channels.values())
    return (leaves_out or not by_layout.subject) and len(own) > 1 and own != _placeholders(by_layout)


def _names_contrast(content: Guess, by_layout: Guess) -> bool:
    """True if the reading by content calls the one channel of the same cases by the contrast in its name."""
    is_nameless = [*by_layout.channels] == ["image"] and len(content.channels) == 1
    return is_nameless and "image" not in content.channels and content.n_cases == by_layout.n_cases


def _is_at_any_depth(guess: Guess) -> bool:
    """True for pairs of images and masks anywhere; folders with a mask for each object are not meant."""
    return guess.layout != "masks" and any(text.startswith("**/{case}") for text in guess.channels.values())


def _is_stricter(content: Guess, by_layout: Guess, reading: by_content.Reading) -> bool:
    """True if the reading by content alone has a mask of each structure, exact folders, or fewer images."""
    if (content.masks and not by_layout.masks) or reading.classes:
        return len(content.channels) == len(by_layout.channels)
    if content.unit == "px" and _is_at_any_depth(by_layout) and not _is_at_any_depth(content):
        return True
    return reading.is_choosy and (
        len(content.channels) < len(by_layout.channels) or content.n_cases < by_layout.n_cases
    )


def _placeholders(guess: Guess) -> set[str]:
    return {name for text in guess.channels.values() for name in re.findall(r"\{\w+\}", text)}


def _same_cases(a: Guess, b: Guess) -> bool:
    return (a.n_cases, a.n_labelled, len(a.channels)) == (b.n_cases, b.n_labelled, len(b.channels))


def _told(guess: Guess) -> str:
    channels = ", ".join(f"{name}: {pattern}" for name, pattern in guess.channels.items())
    return (
        f"another reading has {guess.n_labelled} labelled cases: channels {{{channels}}},"
        f" label {guess.label or ', '.join(guess.masks.values())}"
    )


def _of_patterns(data: Path, patterns: Patterns, reading: by_content.Reading = _NOTHING) -> Guess:
    """The guess that patterns make, and what else was read; images of one pattern are red, green and blue."""
    tree = tree_of(data, channels=patterns.channels)
    if tree.unit == "px":
        patterns = imagesets.in_colours(patterns)
    masks = of_classes(patterns.label, reading.classes) or patterns.masks
    label = None if reading.classes else patterns.label
    contents = layouts.find(data, "patterns", patterns.channels, label, masks=masks)
    contents = ignored.without(contents, data, reading.ignore)
    by_part = any(
        "{part}" in text for text in patterns.channels.values()
    )  # sites, in which every case is a subject of its own
    subject, subject_remark = (None, "") if by_part else layouts.guess_subject(contents)
    return Guess(
        "patterns",
        dict(patterns.channels),
        patterns.label,
        dict(enumerate((BACKGROUND, *reading.classes))) if reading.classes else None,
        n_cases=len(contents.cases),
        n_labelled=sum(bool(case.label_paths) for case in contents.cases) if reading.is_whole else 0,
        unit=contents.unit,
        roles=frozenset(role for _, role in contents.roles),
        n_other=layouts.n_other(contents),
        subject=subject,
        subject_remark=subject_remark,
        remarks=reading.remarks,
        masks=patterns.masks,
        ignore=reading.ignore,
    )


def find(data: Path, guess: Guess) -> FolderContents:
    """The cases that a guess's patterns find."""
    names = (name for value, name in (guess.classes or {}).items() if value)
    masks = of_classes(guess.label, names) or guess.masks
    label = None if masks else guess.label
    contents = layouts.find(data, guess.layout, guess.channels, label, masks=masks)  # type: ignore[arg-type]
    return ignored.without(contents, data, guess.ignore)


def _usable(data: Path, guess: Guess, looks: Looks) -> float:
    """The number of labelled cases, times the share of a few of them whose files are what they should be."""
    if not guess.n_labelled:
        return 0.0
    contents = find(data, guess)
    labelled = [case for case in contents.cases if case.label_paths]
    step = max(1, len(labelled) // _TRIED)
    tried = labelled[::step]
    good = sum(_is_good(data, case, looks) for case in tried)
    return len(labelled) * good / len(tried)


def _is_good(data: Path, case: CaseFiles, looks: Looks) -> bool:
    """True for a case with a label map, and with images on its grid."""
    labels = [looks.at(path.relative_to(data).as_posix()) for path in case.label_paths[:_TRIED]]
    counts = Counter(path.relative_to(data).as_posix() for path in case.channels.values())
    images = [looks.image_at(path) if count > 1 else looks.at(path) for path, count in counts.items()]
    return all(label.kind in ("label", "empty") for label in labels) and all(
        image.kind == "image" and image.grid and label.grid and axis_order(image.grid, label.grid) is not None
        for image in images
        for label in labels
    )


# Patterns of the command line


def _as_given(data: Path, tree: Tree, looks: Looks, given: Given) -> Guess:
    """Patterns with placeholders are taken as they are; globs choose among the files read by content."""
    all_whole = all("{" in text for text in (*given.channels.values(), *filter(None, [given.label])))
    if given.channels and given.label and all_whole:
        return _of_patterns(data, Patterns(given.channels, given.label))
    is_channel = {name: _chooser(text) for name, text in given.channels.items()}
    is_label = _chooser(given.label) if given.label else None
    files = [nfc(path) for path in tree.files]
    for name, choose in is_channel.items():
        if not any(map(choose, files)):
            raise _matches_nothing(f"--channel {name}={given.channels[name]}")
    if is_label and not any(map(is_label, files)):
        raise _matches_nothing(f"--label {given.label}")
    reading = by_content.read(files, looks, by_content.Chosen(is_label, is_channel))
    if reading.patterns is None and given.channels and all_whole:
        reading = by_content.Reading(None, reading.remarks)
        return _of_patterns(data, Patterns(given.channels, given.label), reading)
    if reading.patterns is None:
        guess = replace(layouts.guess(data), label=None, n_labelled=0)
        remarks = (*guess.remarks, *reading.remarks, "the given patterns make no labelled case")
        return replace(guess, remarks=remarks)
    return _of_patterns(data, reading.patterns, reading)


def _matches_nothing(option: str) -> MedsegError:
    return MedsegError(Code.USAGE, option, "no file matches", "write a pattern of paths below DATA")


def _chooser(pattern: str) -> Callable[[str], bool]:
    """A test of relative paths: by the whole path, without suffix too, or by the file's name alone."""
    glob = re.sub(r"\{\w+\}", "*", nfc(pattern)).replace("**/", "*")

    def fits(path: str) -> bool:
        texts = (path, without_suffix(path), path.rpartition("/")[2], without_suffix(path).rpartition("/")[2])
        return any(fnmatch.fnmatchcase(text, glob) for text in texts)

    return fits


# The list of what is there


def _size(grid: Grid) -> str:
    """Voxels of a scan along its axes, or an image's width and height, as `medseg check` writes them."""
    if grid.unit == "px":
        return f"{grid.shape[1]} × {grid.shape[0]} px"
    return " × ".join(map(str, grid.shape))


def _seen(tree: Tree, looks: Looks) -> tuple[str, ...]:
    """Lines about the files that are there: how many of a kind, what they are, and an example."""
    groups: dict[tuple[str, Kind], list[str]] = defaultdict(list)
    kinds = looks.kinds(tree.files)
    for path in tree.files:
        groups[re.sub(r"\d+", "#", path), kinds[path]].append(path)
    lines = []
    for (_, kind), paths in sorted(groups.items(), key=lambda item: -len(item[1])):
        grid = looks.at(paths[0]).grid
        shape = f", {_size(grid)}" if grid else ""
        such_as = " such as" if len(paths) > 1 else ":"
        lines.append(f"{counted_as(len(paths), _NOUNS[kind])}{such_as} {paths[0]}{shape}")
    more = [f"and {len(lines) - _SHOWN} further sorts of names"] if len(lines) > _SHOWN else []
    others = [f"{counted_as(len(tree.others), 'other file')}: {some(tree.others)}"] if tree.others else []
    return (*lines[:_SHOWN], *more, *others)
