"""The page `summary.html` of `medseg segment`: for a person to read first, worst quality first."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from medseg.infer import results
from medseg.report import page_style

MOST_FIGURES = 100
"""Figures that the page holds; those of better cases lie beside it."""

_STYLE = (
    page_style.STYLE
    + """
td:first-child, td.done, td.excluded { white-space: nowrap }
th i { display: inline-block; width: .7em; height: .7em; border-radius: 2px; margin-right: .4em;
  box-shadow: 0 0 0 1px #0003; print-color-adjust: exact; -webkit-print-color-adjust: exact }
.review { color: var(--warn) } .excluded { color: var(--bad) } .done { color: var(--good) }
figure { margin: 1.5rem 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden }
figure img { width: 100%; display: block; background: #000 }
figcaption { padding: .5rem .8rem } figcaption small { color: var(--faint) }
"""
)


def page(
    rows: Sequence[Mapping[str, Any]],
    sizes: Sequence[str],
    facts: Sequence[str],
    folder: Path,
    colours: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Write the page for rows of `summary.csv`, whose columns ``sizes`` hold volumes or areas.

    ``facts`` are short remarks on the run, ``colours`` those of classes (RGB, 0-255). Figures
    `<case>_figure.png` of ``folder`` are put into the page.
    """
    excluded = [row for row in rows if row["status"] == "excluded"]
    others = sorted((row for row in rows if row["status"] != "excluded"), key=_worst_first)
    parts = [_heading(rows, facts)]
    if excluded:
        parts.append(_excluded(excluded))
    if others:
        parts += [_table(others, sizes, colours or {}), _figures(others, folder)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Segmentations</title>\n<style>{_STYLE}</style>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _worst_first(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """The order for review: what needs it, then by predicted Dice or quality, cases without any first."""
    quality = _expected(row) or row.get("quality")
    return not row.get("needs_review"), -1.0 if quality in (None, "") else float(quality), str(row["case"])


def _expected(row: Mapping[str, Any]) -> Any:
    """The predicted Dice of a calibrated model; it orders better than the confidence does."""
    return row.get(results.PREDICTED)


def _heading(rows: Sequence[Mapping[str, Any]], facts: Sequence[str]) -> str:
    counts = Counter(str(row["status"]) for row in rows)
    review = sum(bool(row.get("needs_review")) for row in rows)
    tiles = [f"<li><b>{n}</b>{escape(status)}</li>" for status, n in sorted(counts.items())]
    if review:
        tiles.append(f'<li class="review"><b>{review}</b>need review</li>')
    remarks = " · ".join(map(escape, facts))
    calibrated = any(_expected(row) not in (None, "") for row in rows)
    explained = _CALIBRATED if calibrated else _UNCALIBRATED
    return (
        f'<h1>Segmentations</h1>\n<p class="facts">{remarks}</p>\n<ul class="counts">{"".join(tiles)}</ul>\n'
        f"<p>{explained} Not a medical device: every label map needs a qualified reader's review.</p>"
    )


_UNCALIBRATED = (
    "Quality is the mean confidence over what was segmented; it orders cases for review and is no accuracy."
)
_CALIBRATED = (
    "Predicted Dice is what to expect by signs of failure, calibrated on the model's validation cases; below "
    "the model's threshold a case needs review. Quality is the mean confidence over what was segmented."
)


def _excluded(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f'<tr><td>{escape(str(row["case"]))}<td class="excluded">{escape(str(row["code"]))}'
        f"<td>{escape(str(row['note']))}<td>{escape(str(row.get('how_to_fix', '')))}"
        for row in sorted(rows, key=lambda row: (str(row["code"]), str(row["case"])))
    ]
    head = "<tr><th>case<th>code<th>details<th>how to fix"
    return f"<h2>Excluded</h2>\n<table>{head}\n{chr(10).join(lines)}\n</table>"


def _table(
    rows: Sequence[Mapping[str, Any]], sizes: Sequence[str], colours: Mapping[str, Sequence[int]]
) -> str:
    head = "".join(
        f'<th class="number">{_swatch(name, colours)}{escape(_size_title(name))}' for name in sizes
    )
    calibrated = any(_expected(row) not in (None, "") for row in rows)
    if calibrated:
        head = '<th class="number">predicted Dice' + head
    lines = []
    for row in rows:
        review = '<span class="review">needs review</span>' if row.get("needs_review") else ""
        remarks = "<br>".join(filter(None, (review, escape(str(row.get("note") or "")))))
        numbers = "".join(f'<td class="number">{_number(row.get(name))}' for name in sizes)
        if calibrated:
            numbers = f'<td class="number">{_dice(row, sizes)}{numbers}'
        lines.append(
            f'<tr><td>{escape(str(row["case"]))}<td class="number">{_number(row.get("quality"), 3)}{numbers}'
            f'<td class="done">{escape(str(row["status"]))}<td>{remarks}'
        )
    order = "predicted Dice" if calibrated else "quality"
    title = '<tr><th>case<th class="number">quality' + head + "<th>status<th>remarks"
    return f"<h2>Segmented, worst {order} first</h2>\n<table>{title}\n{chr(10).join(lines)}\n</table>"


def _dice(row: Mapping[str, Any], sizes: Sequence[str]) -> str:
    """The predicted mean Dice, and in small print those of the structures."""
    names = (name.rpartition("_")[0] for name in sizes)
    by_class = (_number(row.get(f"{results.PREDICTED}_{name}"), 2) or "–" for name in names)
    mean = _number(_expected(row), 2)
    return f"{mean}<br><small>{' · '.join(by_class)}</small>" if mean else ""


def _figures(rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    drawn = [
        (row, path)
        for row in rows
        if (path := results.figure_path(results.label_map(folder, str(row["case"]), "mm"))).is_file()
    ]
    if not drawn:
        return ""
    parts = ["<h2>Figures</h2>"]
    for row, path in drawn[:MOST_FIGURES]:
        content = _in_pairs(base64.b64encode(path.read_bytes()))
        case, quality = escape(str(row["case"])), _number(row.get("quality"), 3)
        parts.append(
            f'<figure><img alt="{case}" src="data:image/png;base64,{content}">'
            f"<figcaption>{case} <small>quality {quality or 'unknown'}</small></figcaption></figure>"
        )
    if len(drawn) > MOST_FIGURES:
        parts.append(f"<p>The figures of better cases lie beside this page: {len(drawn) - MOST_FIGURES}.</p>")
    return "\n".join(parts)


def _in_pairs(text: bytes) -> str:
    """Break base64 text into lines of two characters, which browsers join again.

    So no word of three letters stands there by chance, and who looks for names finds none.
    """
    lines = np.full((len(text) // 2, 3), ord("\n"), np.uint8)  # base64's length is a multiple of four
    lines[:, :2] = np.frombuffer(text, np.uint8).reshape(-1, 2)
    return lines.tobytes().decode().rstrip()


def _size_title(column: str) -> str:
    name, _, unit = column.rpartition("_")
    return f"{name} ({unit})"


def _swatch(column: str, colours: Mapping[str, Sequence[int]]) -> str:
    """The colour of a column's class as a small square, as in the figures."""
    colour = colours.get(column.rpartition("_")[0])
    return f'<i style="background: rgb({", ".join(str(int(v)) for v in colour)})"></i>' if colour else ""


def _number(value: Any, digits: int = 1) -> str:
    return "" if value in (None, "") else f"{float(value):,.{digits}f}"
