"""One self-contained page about a run: it works offline and refers to nothing outside itself."""

from __future__ import annotations

import base64
import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medseg.files import write_text
from medseg.metrics.table import PENALISED, ScoreRow, metrics_of
from medseg.report.charts import Colours, heading

NO_REFERENCE = "No case with a reference was scored."

_TEMPLATE = "page.html.j2"
# A chart of full width fills the page's column.
_ENLARGED = 1.2
_LENGTHS = (*PENALISED, *PENALISED.values())
_OVER_SET = {
    "G": "pixel accuracy G",
    "C": "class-average accuracy C",
    "mIoU": "mean IoU",
    "fwIoU": "frequency-weighted IoU",
    "BF": "boundary F1 (BF)",
    "size_weighted_dice": "size-weighted Dice",
    "weighted_error": "weighted error (voxels)",
}
_BY_CLASS = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "negative_rate": "negative rate",
    "dice": "Dice",
    "iou": "IoU",
}
_OF_IMAGES = ("iou", "bf", "dice", "precision", "recall", "hd95", "size_error_percent")
_MOST_ROWS = 3000
_MOST_CLASSES = 6
_KINDS = {b"\xff\xd8": "jpeg", b"<?xml": "svg+xml", b"<svg": "svg+xml"}
_SVG_WIDTH = re.compile(rb'<svg [^>]*width="([0-9.]+)pt"')


@dataclass(frozen=True)
class Tile:
    """One of the large numbers at the top: its name, its value, and a remark."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure (SVG or PNG bytes) with a heading and a sentence that says how to read it."""

    title: str
    image: bytes
    caption: str = ""


@dataclass(frozen=True)
class CaseView:
    """A case's overlay (PNG or JPEG), its set (or ``unlabelled``) and a remark such as its quality figure.

    ``explained`` are Grad-CAM figures that are shown below.
    """

    case: str
    role: str
    png: bytes
    remark: str = ""
    explained: Sequence[Chart] = ()


@dataclass(frozen=True)
class Report:
    """The content of the page, as plain values.

    ``facts`` are the groups under "Run" (heading → name → value), ``recipe`` its YAML text, ``summary`` the
    content of ``summary.json``, ``scores`` the rows of ``scores.csv``, ``excluded`` those of ingest's
    ``quarantine.csv`` (case, file, code, details, how_to_fix) and ``unread`` those of the evaluation's.
    Charts are placed under "Scores" (``spread``), "Training" and "Computing time" (``times``). ``unit`` tells
    scans (mm) from images (px). ``viewers`` are the addresses of cases' viewer pages, ``colours`` those of
    classes (RGB, 0-255). ``unscored`` stands in place of scores where there are none. ``steps`` are rows of
    the scores at chosen iterations: step, set, and numbers by name.
    """

    title: str
    lead: str
    facts: Mapping[str, Mapping[str, str]]
    recipe: str
    summary: Mapping[str, Any]
    scores: Sequence[ScoreRow]
    command: str = ""
    excluded: Sequence[Mapping[str, str]] = ()
    unread: Sequence[Mapping[str, str]] = ()
    tiles: Sequence[Tile] = ()
    training: Sequence[Chart] = ()
    spread: Sequence[Chart] = ()
    times: Sequence[Chart] = ()
    cases: Sequence[CaseView] = ()
    viewers: Mapping[str, str] = field(default_factory=dict)
    unit: str = "mm"
    colours: Colours = field(default_factory=dict)
    unscored: str = NO_REFERENCE
    steps: Sequence[Mapping[str, str]] = ()


def write(path: Path, report: Report) -> None:
    """Write the page to ``path``, whole or not at all."""
    write_text(path, render(report))


def render(report: Report) -> str:
    """The page's HTML; every text is escaped, figures are data URIs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["width"] = _shown_width
    environment.filters["number"] = number
    images = report.unit == "px"
    return environment.get_template(_TEMPLATE).render(
        report=report,
        images=images,
        metrics=_metrics(report.unit),
        heads={role: _heads(of_set["length_unit"]) for role, of_set in report.summary["sets"].items()},
        by_class=_BY_CLASS,
        over_set={**_OVER_SET, "weighted_error": "weighted error (pixels)"} if images else _OVER_SET,
        scores=worst_first(report.scores)[:_MOST_ROWS],
        cases=_cases(report),
        drawn={view.case for view in report.cases},
        score_heads=_heads(report.unit),
        filters=_filters(report),
        penalised=PENALISED,
        size_unit="px" if images else "ml",
        size="pixels" if images else "size",
    )


def _filters(report: Report) -> dict[str, list[str]]:
    """The sets and classes among which a reader of the table of cases can choose."""
    return {
        "set": list(dict.fromkeys(row.role for row in report.scores)),
        "class": list(dict.fromkeys(row.class_name for row in report.scores)),
    }


def _metrics(unit: str) -> tuple[str, ...]:
    """The columns of scores; for images, first those that their papers print."""
    return _OF_IMAGES if unit == "px" else tuple(m for m in metrics_of(unit) if m not in PENALISED.values())


def _data_uri(figure: bytes) -> Markup:
    kind = next((kind for start, kind in _KINDS.items() if figure.startswith(start)), "png")
    return Markup(f"data:image/{kind};base64,") + base64.b64encode(figure).decode()


def _shown_width(svg: bytes) -> int:
    """Width in CSS pixels at which a chart's text has its nominal size, from the SVG's width in points."""
    points = _SVG_WIDTH.search(svg)
    return round(float(points[1]) / 72 * 96 * _ENLARGED) if points else 0


def number(value: float | None, metric: str = "") -> str:
    """Format a number with its significant digits; a dash where it is undefined."""
    if value is None:
        return "–"
    if metric in _LENGTHS:
        return f"{value:.2f}"
    if metric == "size":
        return f"{value:,.2f}"
    if metric == "pixels":
        return f"{value:,.0f}"
    if metric == "size_error_percent":
        return f"{round(value, 1) + 0.0:+.1f}".replace("+0.0", "0.0")  # adding 0.0 turns -0.0 into 0.0
    return f"{value:,.0f}" if metric == "weighted_error" else f"{value:.3f}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 case`, `2 cases`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def date(iso: str) -> str:
    """A time in UTC as readers write it: `30 November 2026, 15:12 UTC`."""
    time = datetime.fromisoformat(iso).astimezone(UTC)
    return f"{time.day} {calendar.month_name[time.month]} {time:%Y, %H:%M} UTC"


def _heads(unit: str) -> dict[str, str]:
    """Column headings of the metrics, with the unit of lengths (mm or px)."""
    return {metric: heading(metric, unit) for metric in metrics_of(unit)}


def worst_first(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Rows by rising Dice, then by falling HD95; undefined ones come last."""

    def badness(row: ScoreRow) -> tuple[bool, float, float, str]:
        dice = 1.0 if row.dice is None else row.dice
        return row.dice is None, dice, -(row.hd95 or 0.0), row.case

    return sorted(rows, key=badness)


def case_order(scores: Sequence[ScoreRow]) -> dict[str, float]:
    """Case → mean Dice (of images mean IoU) over its classes, worst first; cases without any are left out."""
    by_case: dict[str, list[float]] = {}
    for row in scores:
        if (value := _main_score(row)) is not None:
            by_case.setdefault(row.case, []).append(value)
    means = {case: sum(values) / len(values) for case, values in by_case.items()}
    return dict(sorted(means.items(), key=lambda item: (item[1], item[0])))


def class_scores(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """Class → the score by which a case is ordered, with its name, of the classes that have one."""
    name = {"px": "IoU", "mm": "Dice"}
    return {
        row.class_name: f"{name[row.length_unit]} {value:.3f}"
        for row in rows
        if (value := _main_score(row)) is not None
    }


def _main_score(row: ScoreRow) -> float | None:
    """The score by which cases are ordered: IoU of images, Dice of scans."""
    return row.iou if row.length_unit == "px" else row.dice


@dataclass(frozen=True)
class _Card:
    """A case's figure with its mean score and the scores of all its classes, of the ``worst`` if many."""

    view: CaseView
    mean: float | None
    classes: tuple[tuple[str, float | None], ...]
    worst: bool


def _cases(report: Report) -> list[_Card]:
    """The cases' cards, the worst first; those without a score are last, in the order given."""
    means = case_order(report.scores)
    ranks = {case: rank for rank, case in enumerate(means)}
    ordered = sorted(report.cases, key=lambda view: ranks.get(view.case, len(ranks)))
    return [_card(view, means, report.scores) for view in ordered]


def _card(view: CaseView, means: Mapping[str, float], scores: Sequence[ScoreRow]) -> _Card:
    by_class = [(row.class_name, _main_score(row)) for row in scores if row.case == view.case]
    if len(by_class) <= _MOST_CLASSES:
        return _Card(view, means.get(view.case), tuple(by_class) if len(by_class) > 1 else (), worst=False)
    defined = sorted((pair for pair in by_class if pair[1] is not None), key=lambda pair: pair[1] or 0.0)
    return _Card(view, means.get(view.case), tuple(defined[: _MOST_CLASSES // 2]), worst=True)
