"""A data set's files seen together: groups, sizes of classes, and remarks on what does not fit the others.

A remark excludes nothing. It says what a person should look at: equal files, one person under two names,
figures far from the others', mixed orientations and spacings, classes, channels and labels that are missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medseg.classes import ClassList
from medseg.errors import MedsegError, some
from medseg.grid import Grid
from medseg.ingest.file_facts import Checksum, Facts, size_of
from medseg.ingest.outliers import outliers
from medseg.ingest.similar_names import similar_names

RemarkKind = Literal[
    "duplicate",
    "similar names",
    "grey values",
    "image size",
    "class size",
    "orientations differ",
    "spacings differ",
    "label map empty",
    "class missing",
    "channel missing",
    "no case",
]

_NAMED = 4
_SAME_SPACING = 0.01
_MOST_ODD_SIZES = 0.1
_MOST_LINES = 3
"""Remarks of one kind and figure from which on they are one remark."""


@dataclass(frozen=True)
class Entry:
    """A file as a part of the data set: a channel, a label map or a mask of a case.

    ``file`` and ``case`` are names that may be shown. ``sizes`` are class → ml, or px, in a label map. Grey
    values are compared with those of the same ``group`` and ``sort``, which is never shown.
    """

    file: str
    case: str
    subject: str
    group: str
    facts: Facts
    is_label: bool = False
    sizes: Mapping[str, float] = field(default_factory=dict)
    sort: str = ""


@dataclass(frozen=True)
class Remark:
    """One thing to look at: the ``text`` names ``files``, or cases; an outlier has figure and median."""

    kind: RemarkKind
    text: str
    files: tuple[str, ...] = ()
    figure: float | None = None
    median: float | None = None


@dataclass(frozen=True)
class Survey:
    """All files with their facts. ``coverage`` is channel → the cases without it, ``n_cases`` are all cases.

    ``classes`` are the names of the foreground, of all that could be there. ``subjects`` are names of persons
    and the words that show each; ``unpaired`` are sentences on files that make no case.
    """

    entries: tuple[Entry, ...]
    n_cases: int
    unit: Literal["mm", "px"]
    classes: tuple[str, ...] = ()
    coverage: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    unpaired: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[Entry, ...]:
        """The channels' entries."""
        return tuple(entry for entry in self.entries if not entry.is_label)

    @property
    def labels(self) -> tuple[Entry, ...]:
        """The label maps' and masks' entries."""
        return tuple(entry for entry in self.entries if entry.is_label)

    def groups(self) -> dict[str, list[Entry]]:
        """The entries of each channel, then of the label maps."""
        return _by(lambda entry: entry.group, (*self.images, *self.labels))

    def sizes(self) -> dict[str, dict[str, float]]:
        """Class → case → size, of cases in which a label map could hold it; those of 0 too."""
        by_class: dict[str, dict[str, float]] = {name: {} for name in self.classes}
        for entry in self.labels:
            for name, size in entry.sizes.items():
                by_class.setdefault(name, {})[entry.file] = size
        return by_class

    def remarks(self) -> list[Remark]:
        """All remarks, the gravest kinds first."""
        return [
            *_duplicates(self.entries),
            *_similar(self.subjects),
            *_empty(self.labels),
            *_missing(self),
            *_mixed(self.images),
            *_grey_outliers(self.images),
            *_size_outliers(self),
        ]


def class_sizes(facts: Facts, classes: ClassList, mask: str | None = None) -> dict[str, float]:
    """Sizes (ml or px) of all classes of the foreground in a label map, or of the one ``mask`` of its file.

    Values that are in no class list count for nothing; a file that could not be counted gives no sizes.
    """
    if facts.counts is None:
        return {}
    if mask is not None:
        inside = sum(n for value, n in facts.counts.items() if value and value not in classes.void_values)
        return {mask: size_of(facts.grid, inside)}
    indices = {value: index for value in facts.counts if (index := _index(classes, value)) is not None}
    return {
        classes.names[i]: size_of(
            facts.grid,
            sum(facts.counts[value] for value, index in indices.items() if classes.holds(index, i).all()),
        )
        for i in classes.foreground
    }


def _index(classes: ClassList, value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """The index, or bits of masks, of a file's value; None for a value outside the class list."""
    try:
        return classes.to_indices(np.array([value]), "")
    except MedsegError:
        return None


def by_spacing(entries: Iterable[Entry]) -> list[tuple[tuple[float, ...], list[Entry]]]:
    """Group files by their spacings along R, A, S, equal within 1 %; the largest group first."""
    groups: list[tuple[tuple[float, ...], list[Entry]]] = []
    for entry in entries:
        own = spacing_ras(entry.facts.grid)
        for spacing, members in groups:
            if all(abs(a - b) <= _SAME_SPACING * b for a, b in zip(own, spacing, strict=True)):
                members.append(entry)
                break
        else:
            groups.append((own, [entry]))
    return sorted(groups, key=lambda group: -len(group[1]))


def spacing_ras(grid: Grid) -> tuple[float, ...]:
    """Give voxel edge lengths along R, A and S, whatever the order of the axes as stored is."""
    axes = np.argmax(np.abs(grid.affine[:3, :3]), axis=0)
    order = np.argsort(axes) if len(set(axes.tolist())) == 3 else np.arange(3)
    return tuple(float(grid.spacing[i]) for i in order)


# Remarks


def _by(key: Callable[[Entry], str], entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return dict(groups)


def _sorts(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries that can be compared with each other."""
    return _by(lambda entry: f"{entry.group}\0{entry.sort}", entries)


def _duplicates(entries: Sequence[Entry]) -> list[Remark]:
    """Files with the same voxels; a label map may equal another label map alone."""
    equal: dict[tuple[bool, Checksum], dict[str, None]] = defaultdict(dict)
    for entry in entries:
        if entry.facts.checksum is not None:
            equal[entry.is_label, entry.facts.checksum][entry.file] = None
    sets = [(is_label, tuple(names)) for (is_label, _), names in equal.items() if len(names) > 1]
    remarks = []
    for is_label, names in sets[:_MOST_LINES]:
        what = "the same labels" if is_label else "the same voxels"
        remarks.append(Remark("duplicate", f"{what}: {some(names, _NAMED)}", names))
    if rest := sets[_MOST_LINES:]:
        every = tuple(name for _, names in rest for name in names)
        text = f"{len(rest)} further sets of equal files, such as {' = '.join(rest[0][1][:2])}"
        remarks.append(Remark("duplicate", text, every))
    return remarks


def _similar(subjects: Mapping[str, str]) -> list[Remark]:
    groups = [tuple(subjects[name] for name in group) for group in similar_names(subjects)]
    remarks = [
        Remark("similar names", f"one person under several names? {some(names, _NAMED)}", names)
        for names in groups[:_MOST_LINES]
    ]
    if rest := groups[_MOST_LINES:]:
        every = tuple(name for names in rest for name in names)
        text = f"{len(rest)} further groups of similar names, such as {some(rest[0], _NAMED)}"
        remarks.append(Remark("similar names", text, every))
    return remarks


def _empty(labels: Sequence[Entry]) -> list[Remark]:
    """Label maps without foreground; of masks, which may be empty one by one, cases where all are."""
    by_case = _by(lambda entry: entry.case, labels)
    empty = [
        own[0].file
        for own in by_case.values()
        if all(entry.sizes and not any(entry.sizes.values()) for entry in own)
    ]
    if not empty:
        return []
    be = "1 label map holds" if len(empty) == 1 else f"{len(empty)} label maps hold"
    return [Remark("label map empty", f"{be} no foreground: {some(empty, _NAMED)}", tuple(empty))]


def _missing(survey: Survey) -> list[Remark]:
    """Classes that no label map holds, and channels that some cases lack."""
    remarks = []
    counted = [entry for entry in survey.labels if entry.sizes]
    nowhere = [name for name, sizes in survey.sizes().items() if not any(sizes.values())]
    if nowhere and counted:
        be = "a class is" if len(nowhere) == 1 else f"{len(nowhere)} classes are"
        text = f"{be} in none of {len(counted)} label maps: {some(nowhere, 2 * _NAMED)}"
        remarks.append(Remark("class missing", text, tuple(nowhere)))
    for channel, cases in survey.coverage.items():
        if cases:
            text = f"{channel} is missing in {len(cases)} of {survey.n_cases} cases: {some(cases, _NAMED)}"
            remarks.append(Remark("channel missing", text, cases))
    if survey.unpaired:
        remarks.append(Remark("no case", some(survey.unpaired, _NAMED), survey.unpaired))
    return remarks


def _mixed(images: Sequence[Entry]) -> list[Remark]:
    """Groups of scans with several orientations or spacings; the files of all but the most frequent one."""
    remarks = []
    for entries in _sorts(images).values():
        if entries[0].facts.grid.unit == "px":
            continue
        group = entries[0].group
        codes = _by(lambda entry: entry.facts.axes, entries)
        if len(codes) > 1:
            remarks.append(_rarer("orientations differ", group, list(codes.items())))
        groups = by_spacing(entries)
        if len(groups) > 1:
            named = [(spacing_text(spacing), members) for spacing, members in groups]
            remarks.append(_rarer("spacings differ", group, named))
    return remarks


def _rarer(
    kind: Literal["orientations differ", "spacings differ"], group: str, kinds: list[tuple[str, list[Entry]]]
) -> Remark:
    kinds.sort(key=lambda row: -len(row[1]))
    parts = [f"{kinds[0][0]} in {len(kinds[0][1])}"]
    for name, entries in kinds[1:_NAMED]:
        parts.append(f"{name} in {len(entries)} ({some([entry.file for entry in entries], 2)})")
    more = f", and {len(kinds) - _NAMED} more" if len(kinds) > _NAMED else ""
    rarer = tuple(entry.file for _, entries in kinds[1:] for entry in entries)
    return Remark(kind, f"{group}: {', '.join(parts)}{more}", rarer)


def _grey_outliers(images: Sequence[Entry]) -> list[Remark]:
    """Images darker or brighter than others of their channel, or with brighter brightest voxels."""
    remarks = []
    for entries in _sorts(images).values():
        scale = float(np.median([entry.facts.bright - entry.facts.low for entry in entries]))
        known: set[str] = set()
        for name in ("median", "bright"):
            figures = [float(getattr(entry.facts, name)) for entry in entries]
            words = {"median": "median grey value", "bright": "brightest percentile"}[name]
            far = [i for i in outliers(figures, scale) if entries[i].file not in known]
            known |= {entries[i].file for i in far}
            remarks += _far("grey values", words, "", [entry.file for entry in entries], figures, far)
    return remarks


def _size_outliers(survey: Survey) -> list[Remark]:
    """Images that cover more or less than others, and classes that are larger or smaller."""
    remarks = []
    unit = "ml" if survey.unit == "mm" else "px"
    what = "covers" if unit == "ml" else "size"
    for entries in _sorts(survey.images).values():
        figures = [entry.facts.extent for entry in entries]
        files = [entry.file for entry in entries]
        far = outliers(figures)
        if len(far) <= max(_MOST_LINES, _MOST_ODD_SIZES * len(files)):  # otherwise sizes vary: see the table
            remarks += _far("image size", what, unit, files, figures, far)
    for name, sizes in survey.sizes().items():
        there = {file: size for file, size in sizes.items() if size > 0}
        figures = list(there.values())
        far = outliers(figures)
        if unit == "px":  # of an object in a photograph often only a corner is in view
            far = [i for i in far if figures[i] > np.median(figures)]
        remarks += _far("class size", name, unit, list(there), figures, far)
    return remarks


def _far(
    kind: Literal["grey values", "image size", "class size"],
    words: str,
    unit: str,
    files: Sequence[str],
    figures: Sequence[float],
    far: Sequence[int],
) -> list[Remark]:
    """A remark for each outlier, or one for many of them."""
    if not far:
        return []
    median = float(np.median(figures))
    end = f"the median of {len(figures)} is {number(median)}{f' {unit}' if unit else ''}"
    if len(far) <= _MOST_LINES:
        return [
            Remark(
                kind,
                f"{files[i]}: {words} {number(figures[i])}{f' {unit}' if unit else ''}, {end}",
                (files[i],),
                figures[i],
                median,
            )
            for i in far
        ]
    named = some([f"{files[i]} ({number(figures[i])})" for i in far], _NAMED)
    return [
        Remark(
            kind, f"{words} of {len(far)} files: {named}; {end}", tuple(files[i] for i in far), None, median
        )
    ]


def number(value: float) -> str:
    """Write a figure with three digits or as a whole number: 0.0123, 12.3, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spacing_text(spacing: Sequence[float]) -> str:
    """Write a spacing: 0.94 × 0.94 × 1.5."""
    return " × ".join(f"{edge:.3g}" for edge in spacing)
