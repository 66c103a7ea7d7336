"""`medseg benchmark`: the tables of papers beside what this machine measures of the same networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.device import choose, in_words
from medseg.errors import Code, MedsegError, choice
from medseg.networks.tools.measures import Layer
from pipelines.commands import benchmark_runs, benchmark_tables, benchmark_text
from pipelines.commands.benchmark_measure import Measured, measured
from pipelines.commands.benchmark_runs import Run
from pipelines.commands.benchmark_tables import Row, Table, network_of
from pipelines.commands.benchmark_text import HERE, PUBLISHED, Line, Shown

COUNTS = (
    *("parameters", "conv_layers", "receptive_field", "max_stride", "storage_multiplier"),
    *("positions_mib", "packed_positions_mib"),
    *("largest_layer_mib", "all_layers_mib", "forward_ms", "frames_per_second"),
)
"""Columns that every network has."""

RELATIVE = "relative_time"

Measure = Callable[[Row, Table], Measured | None]


@dataclass(frozen=True)
class Request:
    """Recipes to show, or published tables by name (all without any), and settings of what is measured.

    ``scores`` are places of runs, ``seconds`` the time for each network, 0 for none; ``out`` gets Markdown.
    """

    recipes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    scores: tuple[Path, ...] = ()
    seconds: float = 2.0
    device: str = "auto"
    out: Path | None = None


def run(request: Request, say: Reporter, *, as_json: bool) -> None:
    """Print the tables, or write them as JSON or Markdown.

    Raises USAGE for an unknown table, and for tables together with recipes.
    """
    published, device = benchmark_tables.tables(), choose(request.device)
    recipes = [load.load(name) for name in request.recipes]
    for name in request.tables:
        if name not in published:
            details = f"there is no table {name!r}"
            raise MedsegError(Code.USAGE, "--table", details, choice(name, published))
    if recipes and request.tables:
        how_to_fix = "leave one of them out"
        raise MedsegError(Code.USAGE, "--table", "recipes have a table of their own", how_to_fix)
    runs = benchmark_runs.find(request.scores)
    measure = _measuring(device, request.seconds)
    if recipes:
        shown = [_of_recipes(recipes, published, runs, device, request.seconds, say)]
    else:
        chosen = [table for name, table in published.items() if name in (request.tables or published)]
        shown = list(_of_papers(chosen, runs, measure, say))
    threads = torch.get_num_threads()
    machine = f"{in_words(device)}, {threads} thread{'s' if threads > 1 else ''}, float32"
    if request.out is not None:
        files.write_text(request.out, benchmark_text.markdown(shown, machine))
    if as_json:
        say.result(benchmark_text.as_json(shown, machine))
    elif request.out is None:
        benchmark_text.show(shown, machine)
    else:
        say.result(f"tables: {request.out}")


def _measuring(device: str, seconds: float) -> Measure:
    """Make a function that measures the network of a row, each network once."""

    @cache
    def once(name: str, keywords: tuple[tuple[str, Any], ...], shape: Any, field_of: str) -> Measured:
        return measured(name, dict(keywords), shape, field_of=field_of, device=device, seconds=seconds)

    def measure(row: Row, table: Table) -> Measured | None:
        if row.network is None:
            return None
        shape = (table.in_channels, *table.input, table.classes)
        return once(row.network, tuple(sorted(row.keywords.items())), shape, row.field_of)

    return measure


def _of_papers(
    tables: Sequence[Table], runs: Sequence[Run], measure: Measure, say: Reporter
) -> Iterator[Shown]:
    """Fill the published tables, one after another."""
    of = sum(len(table.rows) for table in tables)
    with say.progress("measuring", of) as bar:
        done = 0
        for table in tables:
            by_row: dict[str, Measured | None] = {}
            for row in table.rows:
                by_row[row.name] = measure(row, table)
                done += 1
                bar.to(done, f"{table.title}, {row.name}")
            yield _filled(table, by_row, runs)


def _filled(table: Table, by_row: Mapping[str, Measured | None], runs: Sequence[Run]) -> Shown:
    base = by_row.get(table.time_relative_to or "")
    columns = (*COUNTS, *((RELATIVE,) if base else ()), *table.scores)
    lines: list[Line] = []
    for row in table.rows:
        here = by_row[row.name]
        cells = {} if here is None else here.cells()
        if here and here.forward_ms and base and base.forward_ms:
            cells[RELATIVE] = here.forward_ms / base.forward_ms
        own = [one for one in runs if (fitting := one.row_in(table)) is not None and fitting.name == row.name]
        lines += _lines(row, cells, [_line_of(one, table) for one in own])
    return Shown(
        name=table.name,
        title=table.title,
        source=table.source,
        protocol=table.protocol,
        size=table.input,
        columns=columns,
        lines=tuple(lines),
    )


def _lines(row: Row, cells: dict[str, float | None], runs: Sequence[Line]) -> Iterator[Line]:
    """The lines of a row: measured here, runs, published. A run of just this network stands in the first.

    So does the first of all where the row has no network to measure.
    """
    count = cells.get("parameters")
    same = [one for one in runs if count is None or one.cells.get("parameters") == count]
    first = {**cells, **same[0].cells} if same else cells
    yield Line(row.name, f"{HERE}: {same[0].kind}" if same else HERE, first)
    yield from (Line(row.name, one.kind, one.cells) for one in runs if one not in same[:1])
    published: dict[str, float | None] = dict(row.published)
    if ms := row.published.get("forward_ms"):
        published["frames_per_second"] = 1000 / ms
    yield Line(row.name, PUBLISHED, published, published=True)


def _line_of(one: Run, table: Table) -> Line:
    count = {} if one.parameters is None else {"parameters": one.parameters / 1e6}
    title = one.name if one.step is None else f"{one.name}, step {one.step:,}"
    return Line("", title, {**count, **one.cells(table)})


def _of_recipes(
    recipes: Sequence[Recipe],
    published: Mapping[str, Table],
    runs: Sequence[Run],
    device: str,
    seconds: float,
    say: Reporter,
) -> Shown:
    """A table of recipes' networks, for one training window, with the published row of each that has one."""
    lines: list[Line] = []
    layers: dict[str, tuple[Layer, ...]] = {}
    scores: dict[str, None] = {}
    with say.progress("measuring", len(recipes)) as bar:
        for number, recipe in enumerate(recipes, 1):
            name, keywords, crf = network_of(recipe)
            channels = len(recipe.data.channel_names()) * recipe.sampling.depth
            shape = (channels, *recipe.sampling.window, len(recipe.data.class_list()))
            here = measured(name, keywords, shape, device=device, seconds=seconds)
            layers[recipe.name] = here.counts.layers
            in_papers = [
                (table, row)
                for table in published.values()
                if (row := table.row_of(recipe.name, name, keywords, crf=crf)) is not None
            ]
            lines.append(Line(recipe.name, HERE, here.cells()))
            for table, row in in_papers:
                scores |= dict.fromkeys(table.scores)
                own = [one for one in runs if one.recipe == recipe.name and one.row_in(table) == row]
                lines += [Line(recipe.name, one.kind, one.cells) for one in (_line_of(r, table) for r in own)]
                cells = dict(row.published)
                lines.append(Line(recipe.name, f"{table.title}: {row.name}", cells, published=True))
            bar.to(number, recipe.name)
    return Shown(
        name="recipes",
        title="Recipes",
        source="networks of recipes",
        protocol="one training window each; scores are of runs, in per cent",
        size=None,
        columns=(*COUNTS, *scores),
        lines=tuple(lines),
        layers=layers,
    )
