"""The data report of `medseg check` on the screen: one table, and a line for each remark."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medseg.ingest import survey_text
from medseg.ingest.survey import Remark
from pipelines.commands.check_results import Checked

_WIDEST = 110
_CLASSES = 24
"""Classes that the table on the screen shows."""


def lines(checked: Checked, remarks: Sequence[Remark], width: int) -> Iterator[str]:
    """The lines of the table and of the remarks, at most ``width`` characters each but for names."""
    if not checked.survey.entries:
        return
    yield from _drawn(_table(checked), min(width, _WIDEST))
    if remarks:
        count = "1 thing" if len(remarks) == 1 else f"{len(remarks)} things"
        yield f"{count} to look at:"
        yield from (f"  {remark.kind}: {remark.text}" for remark in remarks)
    else:
        yield "nothing unusual: no equal files, no similar names, no outliers, no mixed geometry"


def _table(checked: Checked) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(no_wrap=True, max_width=28, overflow="ellipsis")
    table.add_column(overflow="fold")
    for section in survey_text.sections(checked.survey):
        table.add_row(Text(section.title, "bold"), section.remark)
        for name, text in section.rows:
            table.add_row(f"  {name}", Text(text))
        table.add_section()
    rows = survey_text.class_rows(checked.survey, checked.classes)
    if rows and checked.survey.labels:
        unit = "ml" if checked.survey.unit == "mm" else "px"
        table.add_row(Text("classes", "bold"), f"label maps that hold it, median size (range) in {unit}")
        for row in rows[:_CLASSES]:
            value = "" if row.value is None else f"{row.value} "
            present = survey_text.missing_text(row, checked.survey)
            table.add_row(f"  {value}{row.name}", Text(f"{present:>10}   {row.text}"))
        if len(rows) > _CLASSES:
            table.add_row("", f"and {len(rows) - _CLASSES} more classes: see --html or --json")
    return table


def _drawn(table: Table, width: int) -> Iterator[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, color_system=None).print(table)
    yield from (line.rstrip() for line in stream.getvalue().splitlines() if line.strip())


def to_json(checked: Checked, remarks: Sequence[Remark]) -> dict[str, Any]:
    """The results and the data report in plain values."""
    results = [result.to_json() for result in checked.results]
    return {"results": results, **survey_text.to_json(checked.survey, checked.classes, remarks)}
