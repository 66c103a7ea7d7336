"""The tables in Markdown, made from the file of results alone: beside it, and in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.goals import ROWS, Figure, Row
from medseg import files
from medseg.errors import Code, MedsegError

BEGIN, END = "<!-- made by `python -m benchmarks --render` -->", "<!-- end of what is made -->"
BUSY = 0.7
"""Load before a row (processes that were running) above which its times say little."""


def render(results: Path, beside: Path, page: Path | None) -> None:
    """Write the tables of a file of results beside it, and between the marks of a page.

    Raises USAGE where there are no results, or a page without marks.
    """
    if not results.is_file():
        raise MedsegError(Code.USAGE, results, "there is no such file", "run python -m benchmarks first")
    text = tables(files.read_json(results))
    files.write_text(beside, text)
    if page is not None:
        files.write_text(page, between_marks(page.read_text(encoding="utf-8"), text, page))


def between_marks(page: str, text: str, where: Path) -> str:
    """A page with ``text`` in place of what stands between its marks; raises USAGE without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MedsegError(Code.USAGE, where, f"it lacks the marks {BEGIN} and {END}", "put both into it")
    return f"{before}{BEGIN}\n{text}{END}{after}"


def tables(content: Mapping[str, Any]) -> str:
    """All tables: goals, medians, floors, the machine."""
    rows = [(row, content["rows"][row.name]) for row in ROWS if row.name in content["rows"]]
    parts = [_head(content), *_goals(rows), "", *_medians(rows), "", *_floors(rows, content["rates"])]
    notes = [f"- {row.name}: {note}" for row, result in rows for note in result.get("notes", ())]
    return "\n".join([*parts, *(["", *notes] if notes else [])]) + "\n"


def _head(content: Mapping[str, Any]) -> str:
    machine, settings = content["machine"], content["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    minutes = sum(row.get("seconds", 0) for row in content["rows"].values()) / 60
    quick = " **A quick run on small inputs: its figures mean nothing.**" if settings["quick"] else ""
    unfinished = "" if content["complete"] else " **The run was ended before its last row.**"
    return (
        f"Machine: {machine['processor']}; {machine['memory_gb']} GB of memory; {machine['system']}; device "
        f"{machine['device']}. One thread unless a row says otherwise. Versions: {versions}. "
        f"All rows together took {minutes:.0f} minutes.{quick}{unfinished}\n"
    )


def _goals(rows: list[tuple[Row, Mapping[str, Any]]]) -> Iterator[str]:
    yield "| row | work | figure | measured | goal | met |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row, result in rows:
        for number, figure in enumerate(row.figures):
            first = (f"`{row.name}`", _cell(row.work)) if number == 0 else ("", "")
            measured, met = _measured(figure, result)
            yield f"| {' | '.join((*first, figure.name, measured, figure.in_words, met))} |"


def _measured(figure: Figure, result: Mapping[str, Any]) -> tuple[str, str]:
    """The cells of a figure: its value, or why there is none, and whether its goal is met."""
    if result["status"] != "done":
        return f"{result['status']}: {_cell(result['why'])}", "–"
    if figure.name not in result["figures"]:
        return "not measured", "–"
    value = result["figures"][figure.name]
    met = {True: "yes", False: "**no**", None: "–"}[figure.is_met(value)]
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}", met


def _medians(rows: list[tuple[Row, Mapping[str, Any]]]) -> Iterator[str]:
    yield "| row | input | way | median | runs | peak MB | load before |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row, result in rows:
        for number, (name, way) in enumerate(result.get("ways", {}).items()):
            first = (f"`{row.name}`", _cell(result["input"])) if number == 0 else ("", "")
            load = f"{result['load_before']:g}{' (busy)' if result['load_before'] > BUSY else ''}"
            peak = f"{way['peak_mb']:.0f}" if "peak_mb" in way else "–"
            cells = (*first, name, f"{way['median']:g} {way['unit']}", str(len(way["runs"])), peak)
            yield f"| {' | '.join((*cells, load if number == 0 else ''))} |"


def _floors(rows: list[tuple[Row, Mapping[str, Any]]], rates: Mapping[str, float]) -> Iterator[str]:
    yield "| floor | value |"
    yield "| --- | --- |"
    for name, value in rates.items():
        yield f"| {name} | {value:g} |"
    for row, result in rows:
        for name, value in result.get("floors", {}).items():
            yield f"| `{row.name}`: {_cell(name)} | {value:g} s |"


def in_short(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    """Lines for the terminal: the figures of a row with their goals."""
    row = next(row for row in ROWS if row.name == name)
    if result["status"] != "done":
        yield f"{result['status']}: {result['why']}"
        return
    for figure in row.figures:
        measured, met = _measured(figure, result)
        goal = "" if figure.bound is None else f" (goal {figure.in_words}, met: {met.strip('*')})"
        yield f"{figure.name}: {measured}{goal}"
    yield f"{result['seconds']:g} s"


def _cell(text: str) -> str:
    """Text that cannot break a table."""
    return " ".join(text.replace("|", "¦").split())
