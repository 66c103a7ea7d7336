"""The page of `medseg check --html`: a data set at a glance, in one file that works offline.

Written without a template engine, as `medseg check` needs the core dependencies alone.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from medseg.classes import ClassList, Colour
from medseg.errors import printable, some
from medseg.ingest import survey_text
from medseg.ingest.survey import Entry, Remark, Survey, number, spacing_ras, spacing_text
from medseg.ingest.survey_text import ClassRow
from medseg.report import page_style

_MOST_EXCLUDED = 500
_MOST_FILES = 5000
_MOST_NAMES = 8
_STRIP, _HIGH = 260, 22
_NARROWEST = math.log(1.3)
_STYLE = (
    page_style.STYLE
    + """
th, td { overflow-wrap: anywhere } td.number, th.number { white-space: nowrap }
td.short { white-space: nowrap; width: 1% }
.warn { color: var(--warn) } .bad { color: var(--bad) } .good { color: var(--good) }
div.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem }
div.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem }
div.card h3 { font-size: 1rem; margin: 0 } div.card h3 small { color: var(--faint); font-weight: 400 }
dl { display: grid; grid-template-columns: 6.5rem 1fr; margin: .4rem 0 0; font-size: .92em }
dt { color: var(--faint) } dd { margin: 0; overflow-wrap: anywhere }
i.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .45em;
  border: 1px solid var(--line) }
svg.strip { display: block; width: 100%; max-width: 260px }
svg.strip path { stroke: var(--ink); stroke-opacity: .45 }
svg.strip line { stroke: var(--line) } svg.strip circle { fill: var(--bad) }
div.montage { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .5rem }
figure { margin: 0; content-visibility: auto; contain-intrinsic-size: 150px 190px }
figure div { background: #000; border-radius: 6px; height: 150px; overflow: hidden }
figure img { width: 100%; height: 100%; object-fit: contain; display: block }
figure.seen div { outline: 2px solid var(--warn) }
figcaption { font-size: .75rem; line-height: 1.25; padding: .2rem .1rem; overflow-wrap: anywhere;
  max-height: 3.75em; overflow: hidden }
details summary { cursor: pointer; font-weight: 600; margin: 2rem 0 .5rem }
div.scroll { overflow-x: auto } div.wide { overflow-x: auto; font-size: .85em }
svg.strip { min-width: 120px }
p.legend span { margin-right: 1.1rem; white-space: nowrap }
@media print { details > * { display: block } figure { break-inside: avoid } }
"""
)


@dataclass(frozen=True)
class Excluded:
    """An input that cannot be used, by its name, and the reason."""

    name: str
    code: str
    details: str
    how_to_fix: str


@dataclass(frozen=True)
class Page:
    """All that the page shows: ``thumbnails`` are PNG files by the name of the case, or of the file.

    ``title`` names the folder, where that may be shown; ``n_more`` are thumbnails that were left out; with
    ``is_hidden`` no word may stand in the page by chance.
    """

    title: str
    survey: Survey
    classes: ClassList | None
    remarks: Sequence[Remark]
    n_usable: int
    excluded: Sequence[Excluded]
    thumbnails: Mapping[str, bytes]
    n_more: int = 0
    unlabelled: frozenset[str] = frozenset()
    noun: str = "inputs"
    is_hidden: bool = False
    facts: Sequence[str] = ()


def html(page: Page) -> str:
    """Write the page."""
    parts = [
        _heading(page),
        _remarks(page.remarks),
        _excluded(page.excluded),
        _groups(page.survey),
        _classes(page),
        _montage(page),
        _files(page.survey),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(page.title)}</title>\n<style>{_STYLE}</style>\n<body>\n{body}\n</body>\n</html>\n"
    )


def names_with_remarks(survey: Survey, remarks: Sequence[Remark]) -> set[str]:
    """The cases and files that a remark names."""
    files = {name for remark in remarks for name in remark.files}
    return files | {entry.case for entry in survey.entries if entry.file in files}


def _text(text: str) -> str:
    return escape(printable(text))


def _heading(page: Page) -> str:
    survey = page.survey
    of_images = {entry.case for entry in survey.entries if not entry.is_label}
    labelled = len({entry.case for entry in survey.labels} & of_images)
    tiles = [(survey.n_cases, "cases", ""), (labelled, "with label maps", "")] if survey.coverage else []
    tiles += [
        (page.n_usable, f"{page.noun} usable", "good"),
        (len({row.name for row in page.excluded}), "excluded", "bad"),
    ]
    tiles.append((len(page.remarks), "to look at", "warn"))
    items = "".join(f'<li class="{kind if n else ""}"><b>{n:,}</b>{words}</li>' for n, words, kind in tiles)
    remarks = " · ".join(_text(fact.replace("`", "")) for fact in page.facts)
    return f'<h1>{_text(page.title)}</h1>\n<p class="facts">{remarks}</p>\n<ul class="counts">{items}</ul>'


def _remarks(remarks: Sequence[Remark]) -> str:
    if not remarks:
        return (
            '<h2>To look at</h2>\n<p class="good">Nothing unusual: no equal files, no similar names,'
            " no outliers, no mixed geometry.</p>"
        )
    rows = "\n".join(
        f'<tr><td class="short warn">{_text(remark.kind)}<td>{_text(remark.text)}' for remark in remarks
    )
    return f"<h2>To look at</h2>\n<table>\n{rows}\n</table>"


def _excluded(excluded: Sequence[Excluded]) -> str:
    """A row for each reason, with the names of all inputs that share it."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for row in excluded:
        names.setdefault((row.code, row.details, row.how_to_fix), []).append(row.name)
    if not names:
        return ""
    rows = "\n".join(
        f'<tr><td>{_text(some(inputs, _MOST_NAMES))}<td class="short bad">{_text(code)}<td>{_text(details)}'
        f"<td>{_text(how_to_fix)}"
        for (code, details, how_to_fix), inputs in list(names.items())[:_MOST_EXCLUDED]
    )
    more = len(names) - _MOST_EXCLUDED
    end = f"<p>and {more} more reasons, which the command lists.</p>" if more > 0 else ""
    head = "<tr><th>input<th>code<th>details<th>how to fix"
    return f"<h2>Would be excluded</h2>\n<table>{head}\n{rows}\n</table>{end}"


def _groups(survey: Survey) -> str:
    """A card for each channel and for the label maps."""
    cards = []
    for section, entries in zip(survey_text.sections(survey), survey.groups().values(), strict=True):
        rows = [(name, _text(text)) for name, text in section.rows]
        if not entries[0].is_label and len(entries) > 2:
            points = [(entry.file, entry.facts.median) for entry in entries]
            rows.append(("medians", _strip(points, set())))
        lines = "".join(f"<dt>{name}<dd>{text}" for name, text in rows)
        title = f"<h3>{_text(section.title)} <small>{_text(section.remark)}</small></h3>"
        cards.append(f'<div class="card">{title}<dl>{lines}</dl></div>')
    return f'<h2>Files</h2>\n<div class="cards">\n{chr(10).join(cards)}\n</div>' if cards else ""


def _classes(page: Page) -> str:
    """A row for each class: where it is, its sizes, and a mark for each label map."""
    if not page.survey.labels or not (rows := survey_text.class_rows(page.survey, page.classes)):
        return ""
    unit = "ml" if page.survey.unit == "mm" else "px"
    far = {(r.files[0], r.figure) for r in page.remarks if r.kind == "class size" and r.figure is not None}
    head = f'<tr><th>class<th class="number">in label maps<th class="number">median, {unit}<th>range<th>each'
    lines = []
    for row in rows:
        name = f'<i class="swatch" style="background: {_css(row.colour)}"></i>{_class_name(row)}'
        missing = " bad" if row.present == 0 else ""
        present = survey_text.missing_text(row, page.survey)
        sizes = sorted(size for _, size in row.sizes)
        middle, limits = row.text.split(" (")[0], ""
        if sizes:
            limits = f"{number(sizes[0])} to {number(sizes[-1])}"
        outlying = {file for file, size in row.sizes if (file, size) in far}
        lines.append(
            f'<tr><td>{name}<td class="number{missing}">{present}<td class="number">{middle}'
            f'<td class="short">{limits}<td>{_strip(row.sizes, outlying)}'
        )
    table = f"<table>{head}\n{chr(10).join(lines)}\n</table>"
    return f'<h2>Classes</h2>\n<div class="scroll">{table}</div>'


def _class_name(row: ClassRow) -> str:
    return _text(row.name if row.value is None else f"{row.value} {row.name}")


def _css(colour: Colour) -> str:
    return f"rgb({colour[0]} {colour[1]} {colour[2]})"


def _strip(points: Sequence[tuple[str, float]], outlying: set[str]) -> str:
    """Draw figures as marks on an axis, by their logarithm if all are positive; outliers as named dots."""
    if not points:
        return ""
    figures = [figure for _, figure in points]
    scale = math.log if min(figures) > 0 else float
    low, high = scale(min(figures)), scale(max(figures))
    least = _NARROWEST if scale is math.log else 1e-9
    middle, width = (low + high) / 2, max(high - low, least)  # nearly equal figures lie near each other

    def x(figure: float) -> int:
        return round(_STRIP / 2 + (_STRIP - 8) * (scale(figure) - middle) / width)

    marks = "".join(f"M{place} 5v12" for place in sorted({x(figure) for figure in figures}))
    dots = "".join(
        f'<circle cx="{x(figure)}" cy="11" r="4"><title>{_text(name)}: {number(figure)}</title></circle>'
        for name, figure in points
        if name in outlying
    )
    return (
        f'<svg class="strip" viewBox="0 0 {_STRIP} {_HIGH}" role="img" aria-label="distribution">'
        f'<line x1="0" x2="{_STRIP}" y1="11" y2="11"/><path d="{marks}" stroke-width="1.5"/>{dots}</svg>'
    )


def _montage(page: Page) -> str:
    """Thumbnails, those with a remark first."""
    if not page.thumbnails:
        return ""
    seen = names_with_remarks(page.survey, page.remarks)
    first = sorted(page.thumbnails, key=lambda name: name not in seen)
    figures = []
    for name in first:
        content = base64.b64encode(page.thumbnails[name]).decode()
        content = in_pairs(content) if page.is_hidden else content
        kind = ' class="seen"' if name in seen else ""
        unlabelled = " <i>no label map</i>" if name in page.unlabelled else ""
        figures.append(
            f'<figure{kind}><div><img loading="lazy" decoding="async" alt="" '
            f'src="data:image/png;base64,{content}"></div><figcaption title="{_text(name)}">{_text(name)}'
            f"{unlabelled}</figcaption></figure>"
        )
    legend = _legend(page)
    more = f"<p>{page.n_more} more are left out.</p>" if page.n_more else ""
    return f'<h2>Montage</h2>\n{legend}\n<div class="montage">\n{chr(10).join(figures)}\n</div>{more}'


def _legend(page: Page) -> str:
    what = "One slice of each case: of five, the one that shows most of the label map, with its outline."
    if page.survey.unit == "px":
        what = "Each image with the outline of its label map."
    if not page.survey.labels:
        what = "The middle slice of each." if page.survey.unit == "mm" else "Each image."
    if any(names_with_remarks(page.survey, page.remarks) & set(page.thumbnails)):
        what += " Those that a remark names come first, framed."
    rows = survey_text.class_rows(page.survey, page.classes) if page.survey.labels else []
    names = "".join(
        f'<span><i class="swatch" style="background: {_css(row.colour)}"></i>{_class_name(row)}</span>'
        for row in rows[:40]
        if row.present
    )
    return f"<p>{what}</p>" + (f'\n<p class="legend">{names}</p>' if names else "")


def in_pairs(text: str) -> str:
    """Break a text into lines of two characters, which browsers join again.

    So no word of three letters stands there by chance, and who looks for names finds none.
    """
    return "\n".join(text[at : at + 2] for at in range(0, len(text), 2))


def _files(survey: Survey) -> str:
    """A table of all files, closed at first."""
    if not survey.entries:
        return ""
    rows = "\n".join(map(_file, survey.entries[:_MOST_FILES]))
    unit = "ml" if survey.unit == "mm" else "px"
    head = (
        "<tr><th>file<th>channel<th>shape<th>spacing (R A S)<th>axes<th>type"
        f'<th class="number">values<th class="number">median<th>classes ({unit})'
    )
    more = len(survey.entries) - _MOST_FILES
    end = f"<p>and {more} more files: see --json.</p>" if more > 0 else ""
    return (
        f'<details><summary>All files ({len(survey.entries):,})</summary>\n<div class="wide"><table>{head}\n'
        f"{rows}\n</table>{end}</div></details>"
    )


def _file(entry: Entry) -> str:
    facts = entry.facts
    shape = " × ".join(map(str, facts.grid.shape if facts.grid.unit == "mm" else facts.grid.shape[1::-1]))
    spacing = spacing_text(spacing_ras(facts.grid)) if facts.grid.unit == "mm" else ""
    present = {name: size for name, size in entry.sizes.items() if size > 0}
    sizes = ", ".join(f"{name} {number(size)}" for name, size in present.items())
    if entry.sizes and not present:
        sizes = "empty"
    middle = "" if entry.is_label else number(facts.median)
    return (
        f'<tr><td>{_text(entry.file)}<td>{_text(entry.group)}<td class="short">{shape}'
        f'<td class="short">{spacing}<td>{facts.axes}<td>{facts.dtype}'
        f'<td class="number">{number(facts.low)} to {number(facts.high)}<td class="number">{middle}'
        f"<td>{_text(sizes)}"
    )
