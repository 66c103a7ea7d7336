"""`medseg check`: from files that were read to entries of the survey, by the cases that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.classes import Class, ClassList, ClassListError, Colour, classes_of_values
from medseg.ingest import mask_files
from medseg.ingest.patterns import CaseFiles, Stray
from medseg.ingest.survey import Entry, class_sizes
from medseg.report import thumbnails
from pipelines.commands.check_results import CaseSlices, Recorder

LABEL = "label map"
"""The group of label maps in tables."""

_NEARLY_ALL = 0.9
_HALF = 128

Shown = Callable[[CaseFiles, Path], str]
"""The name by which a file of a case is shown."""


def entries(case: CaseFiles, seen: Recorder, classes: ClassList | None, shown: Shown) -> list[Entry]:
    """The entries of a case's channels and label maps, of those that could be read."""
    parts = []
    for path in dict.fromkeys(case.channels.values()):
        names = [name for name, other in case.channels.items() if other == path]
        facts = seen.facts.get(path, ())
        groups = names if len(facts) == len(names) else ["image"] * len(facts)
        parts += [
            Entry(shown(case, path), case.name, case.subject, group, one)
            for group, one in zip(groups, facts, strict=True)
        ]
    for group, path in labels_of(case).items():
        for one in seen.facts.get(path, ()):
            sizes = class_sizes(one, classes, group if case.masks else None) if classes else {}
            kind = LABEL if classes and classes.own_files else group
            name = shown(case, path)
            parts.append(Entry(name, case.name, case.subject, kind, one, is_label=True, sizes=sizes))
    return parts


def labels_of(case: CaseFiles) -> dict[str, Path]:
    """The label map or the masks of a case, by their group in tables."""
    return dict(case.masks) or ({LABEL: case.label} if case.label is not None else {})


def case_slices(case: CaseFiles, seen: Recorder) -> CaseSlices | None:
    """The slices of the first channel and of the label map, or all masks; None where none were kept."""
    image = seen.slices.get(next(iter(case.channels.values()), None))
    if image is None:
        return None
    labels = [seen.slices[path] for path in labels_of(case).values() if path in seen.slices]
    label = thumbnails.merged(labels) if case.masks and labels else next(iter(labels), None)
    return CaseSlices(case.name, image, label)


def unite(folder: Path, seen: Recorder) -> None:
    """Record a folder of masks of one image, one an object, as one label map of two values."""
    paths = mask_files.files_of(folder)
    parts = [facts for path in paths for facts in seen.facts.get(path, ()) if facts.counts]
    if not parts:
        return
    high = max(1, *(value for part in parts for value in part.counts or {}))
    inside = sum(n for part in parts for value, n in (part.counts or {}).items() if value)
    background = max(0, sum((parts[0].counts or {}).values()) - inside)
    seen.facts[folder] = (replace(parts[0], counts={0: background, high: inside}, checksum=None),)
    if kept := [seen.slices.pop(path) for path in paths if path in seen.slices]:
        seen.slices[folder] = thumbnails.merged(kept, high)


def has_grey_edges(paths: Sequence[Path], seen: Recorder) -> bool:
    """True if masks are nearly all black and white, with greys between, as where edges are smoothed."""
    every = [facts.counts for path in paths for facts in seen.facts.get(path, ()) if facts.counts]
    return any(len(counts) > 2 and 255 in counts for counts in every) and all(
        counts.get(0, 0) + counts.get(255, 0) >= _NEARLY_ALL * sum(counts.values()) for counts in every
    )


def cut_at_half(paths: Sequence[Path], seen: Recorder) -> None:
    """Count greys above half of white as 255, and all others as 0."""
    for path in paths:
        for facts in seen.facts.get(path, ()):
            if facts.counts:
                bright = sum(n for value, n in facts.counts.items() if value > _HALF)
                counts = {0: sum(facts.counts.values()) - bright, 255: bright}
                seen.facts[path] = (replace(facts, counts={v: n for v, n in counts.items() if n}),)


def coverage(cases: Sequence[CaseFiles], strays: Iterable[Stray]) -> dict[str, tuple[str, ...]]:
    """Channel → the cases that lack it."""
    channels = dict.fromkeys(name for case in cases for name in case.channels)
    lacking: dict[str, list[str]] = {name: [] for name in channels}
    for stray in strays:
        for name in stray.missing:
            lacking.setdefault(name, []).append(stray.case)
    return {name: tuple(names) for name, names in lacking.items()}


def list_of(names: Mapping[int, str], void: Sequence[int] = ()) -> ClassList | None:
    """A class list of value → name; None where the values are too many, or no list."""
    try:
        return ClassList.from_names(names, void_values=tuple(void), background=0 in names)
    except ClassListError:
        return list_of_values(names)


def list_of_values(values: Iterable[int]) -> ClassList | None:
    """A class list of unnamed values; None where they are too many."""
    try:
        return classes_of_values(values)
    except ClassListError:
        return None


def colours(classes: ClassList | None, values: Iterable[int]) -> dict[int, Colour]:
    """Value → colour of the outlines of what label maps hold; of masks with files of their own, by number."""
    if classes is None:
        return {}
    foreground: list[Class] = [classes.classes[i] for i in classes.foreground]
    if classes.own_files or (classes.multilabel and not classes.file_values):
        return {number: row.colour for number, row in enumerate(foreground, 1)}
    if not classes.multilabel:
        merged = dict(classes.merged)
        by_value = {row.value: row.colour for row in foreground}
        return {v: by_value[merged.get(v, v)] for v in values if merged.get(v, v) in by_value}
    bits = dict(classes.file_values)
    masks = {v: [row for i, row in enumerate(foreground) if bits.get(v, 0) >> i & 1] for v in values}
    return {value: rows[-1].colour for value, rows in masks.items() if rows}
