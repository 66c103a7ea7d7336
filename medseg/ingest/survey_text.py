"""A survey in words: sections of rows for tables on the screen and on pages, and plain values for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.classes import ClassList
from medseg.ingest.survey import Entry, Remark, Survey, by_spacing, number, spacing_ras, spacing_text

_KINDS = 3
_VALUES = 12


@dataclass(frozen=True)
class Section:
    """A part of the table: a title with its remark, and rows (name, text)."""

    title: str
    remark: str
    rows: tuple[tuple[str, str], ...]


def sections(survey: Survey) -> list[Section]:
    """Describe each channel, then the label maps."""
    return [_section(survey, group, entries) for group, entries in survey.groups().items()]


def _section(survey: Survey, group: str, entries: Sequence[Entry]) -> Section:
    count = f"{len(entries)} file{'' if len(entries) == 1 else 's'}"
    cases = len({entry.case for entry in entries})
    of_cases = survey.coverage and survey.n_cases > 1 and not group.startswith("other ")
    remark = f"{count} in {cases} of {survey.n_cases} cases" if of_cases else count
    rows = [("size", _sizes(entries))]
    if survey.unit == "mm":
        spacings = [(spacing_text(spacing), len(members)) for spacing, members in by_spacing(entries)]
        rows.append(("spacing", f"{_counted(spacings, len(entries))} mm"))
        rows.append(("axes", _counted(Counter(e.facts.axes for e in entries).most_common(), len(entries))))
    rows.append(("type", _counted(Counter(e.facts.dtype for e in entries).most_common(), len(entries))))
    if entries[0].is_label:
        rows.append(("values", _values(entries)))
    else:
        low, high = min(e.facts.low for e in entries), max(e.facts.high for e in entries)
        medians = [entry.facts.median for entry in entries]
        rows.append(("grey values", f"{number(low)} to {number(high)}, median {spread(medians)}"))
    return Section(group, remark, tuple(rows))


def _counted(kinds: Sequence[tuple[str, int]], n: int) -> str:
    """The most frequent kinds with their counts; without a count if there is but one."""
    if len(kinds) == 1:
        return kinds[0][0]
    shown = [f"{name} ({count})" for name, count in kinds[:_KINDS]]
    rest = sum(count for _, count in kinds[_KINDS:])
    n_more = len(kinds) - _KINDS
    more = [f"{n_more} other{'' if n_more == 1 else 's'} ({rest} of {n})"] if rest else []
    return ", ".join([*shown, *more])


def _sizes(entries: Sequence[Entry]) -> str:
    """Shapes in voxels as stored, or width × height in px; ranges where there are many."""
    unit = entries[0].facts.grid.unit
    shapes = [e.facts.grid.shape if unit == "mm" else e.facts.grid.shape[1::-1] for e in entries]
    kinds = Counter(shapes).most_common()
    end = " px" if unit == "px" else ""
    if len(kinds) <= _KINDS:
        return _counted([(" × ".join(map(str, shape)), count) for shape, count in kinds], len(entries)) + end
    lows, highs = np.min(shapes, axis=0), np.max(shapes, axis=0)
    axes = [f"{a}" if a == b else f"{a}–{b}" for a, b in zip(lows, highs, strict=True)]
    return f"{' × '.join(axes)}{end} ({len(kinds)} different)"


def _values(entries: Sequence[Entry]) -> str:
    """The values of label maps; the number of files that were counted, if not all were."""
    counted = [entry.facts.counts for entry in entries if entry.facts.counts is not None]
    values = sorted({value for counts in counted for value in counts})
    if not values:
        return "no whole numbers"
    few = ", ".join(map(str, values))
    text = few if len(values) <= _VALUES else f"{len(values)} values from {values[0]} to {values[-1]}"
    uncounted = len(entries) - len(counted)
    return text + (f" (no whole numbers in {uncounted} files)" if uncounted else "")


def spread(figures: Iterable[float]) -> str:
    """The median, with the lowest and the highest: 120 (98 to 150)."""
    values = list(figures)
    middle = number(float(np.median(values)))
    if number(min(values)) == number(max(values)):
        return middle
    return f"{middle} ({number(min(values))} to {number(max(values))})"


@dataclass(frozen=True)
class ClassRow:
    """A class of the foreground: in how many label maps it is, and its sizes there (ml or px)."""

    name: str
    value: int | None
    colour: tuple[int, int, int]
    present: int
    of: int
    sizes: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        """Median and range of its sizes."""
        return spread(size for _, size in self.sizes) if self.sizes else "–"


def class_rows(survey: Survey, classes: ClassList | None) -> list[ClassRow]:
    """A row for each class of the foreground, those that are nowhere too."""
    if classes is None:
        return []
    sizes = survey.sizes()
    rows = []
    for index in classes.foreground:
        row = classes.classes[index]
        own = sizes.get(row.name, {})
        present = tuple((file, size) for file, size in own.items() if size > 0)
        value = None if classes.multilabel else row.value
        rows.append(ClassRow(row.name, value, row.colour, len(present), len(own), present))
    return rows


def to_json(survey: Survey, classes: ClassList | None, remarks: Sequence[Remark]) -> dict[str, Any]:
    """Describe the survey in plain values: files, classes and remarks."""
    return {
        "n_cases": survey.n_cases,
        "unit": survey.unit,
        "channels": {
            name: {"missing_in": list(cases), "cases": survey.n_cases - len(cases)}
            for name, cases in survey.coverage.items()
        },
        "files": [_file(entry) for entry in survey.entries],
        "classes": [
            {
                "name": row.name,
                "value": row.value,
                "present_in": row.present,
                "label_maps": row.of,
                **_range([size for _, size in row.sizes], "ml" if survey.unit == "mm" else "px"),
            }
            for row in class_rows(survey, classes)
        ],
        "remarks": [
            {
                "kind": remark.kind,
                "text": remark.text,
                "files": list(remark.files),
                "figure": remark.figure,
                "median": remark.median,
            }
            for remark in remarks
        ],
    }


def _range(sizes: Sequence[float], unit: str) -> dict[str, Any]:
    middle = float(np.median(sizes)) if sizes else None
    return {
        "size_unit": unit,
        "size_median": middle,
        "size_min": min(sizes, default=None),
        "size_max": max(sizes, default=None),
    }


def _file(entry: Entry) -> dict[str, Any]:
    facts, unit = entry.facts, entry.facts.grid.unit
    described: dict[str, Any] = {
        "file": entry.file,
        "case": entry.case,
        "subject": entry.subject,
        "group": entry.group,
        "is_label": entry.is_label,
        "shape": list(facts.grid.shape),
        "unit": unit,
        "spacing_ras": [round(edge, 6) for edge in spacing_ras(facts.grid)],
        "axes": facts.axes,
        "dtype": facts.dtype,
        "low": facts.low,
        "high": facts.high,
    }
    if entry.is_label:
        counts = None if facts.counts is None else {str(v): n for v, n in facts.counts.items()}
        described |= {"voxels": counts, "ml" if unit == "mm" else "px": dict(entry.sizes)}
    else:
        described |= {"foreground_median": facts.median, "foreground_p99": facts.bright}
    return described


def missing_text(row: ClassRow, survey: Survey) -> str:
    """The presence of a class: 10 of 12."""
    return f"{row.present} of {row.of}" if row.of else f"0 of {len(survey.labels)}"
