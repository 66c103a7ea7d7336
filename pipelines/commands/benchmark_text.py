"""The tables of `medseg benchmark` on a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from medseg.networks.tools.measures import Layer

HERE, PUBLISHED = "here", "published"
PUBLISHED_ONLY = "published only"
NONE = "–"
_WIDE = 1000

HEADINGS = {
    "parameters": "parameters (M)",
    "conv_layers": "conv layers",
    "receptive_field": "receptive field (px)",
    "max_stride": "max stride",
    "storage_multiplier": "storage multiplier",
    "positions_mib": "positions (MiB)",
    "packed_positions_mib": "positions in 2 bits (MiB)",
    "largest_layer_mib": "largest layer (MiB)",
    "all_layers_mib": "all layers (MiB)",
    "forward_ms": "forward (ms)",
    "frames_per_second": "frames per second",
    "relative_time": "time of L4",
}

_FORMATS = {
    **dict.fromkeys(("conv_layers", "receptive_field", "max_stride"), ",.0f"),
    **dict.fromkeys(("positions_mib", "largest_layer_mib", "all_layers_mib", "frames_per_second"), ",.1f"),
    "storage_multiplier": ",.4g",
    "relative_time": ".2f",
    "packed_positions_mib": ".2f",
}

EXPLANATION = (
    "Lines `here` are measured on this machine, other names are runs that were found, `published` is the "
    "paper. `published only`: no figure of this machine; –: neither has one. Conv layers are those along "
    "the longest way, without transposed ones. Memory is that of the outputs of convolutions for one image "
    "in float32. Scores are in per cent, of test cases."
)


@dataclass(frozen=True)
class Line:
    """A line of a table: the paper's name of the network, where the figures come from, column → figure."""

    network: str
    kind: str
    cells: Mapping[str, float | None]
    published: bool = False


@dataclass(frozen=True)
class Shown:
    """A filled table; ``size`` is the timed (H, W) in px, ``layers`` are the convolutions by network."""

    name: str
    title: str
    source: str
    protocol: str
    size: tuple[int, int] | None
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    layers: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict)

    def cell(self, line: Line, column: str) -> float | str:
        """A figure; or `published only` on a line of this machine for what only the paper has; or a dash."""
        value = line.cells.get(column)
        if value is not None:
            return value
        if not line.kind.startswith(HERE):
            return NONE
        if column == "receptive_field" and column in line.cells:
            return "image"
        by_paper = any(
            one.cells.get(column) is not None
            for one in self.lines
            if one.network == line.network and one.published
        )
        return PUBLISHED_ONLY if by_paper else NONE


def in_words(value: float | str, column: str, *, published: bool = False) -> str:
    """Write a figure with its significant digits; published ones as they are printed."""
    if isinstance(value, str):
        return value
    if published and column not in HEADINGS:
        return f"{value:.2f}".removesuffix("0")
    if published and column != "frames_per_second":
        return f"{value:.10g}"
    if column == "parameters":
        return f"{value:.3f}"
    if column == "forward_ms":
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return format(value, _FORMATS.get(column, ".2f"))


def show(tables: Sequence[Shown], machine: str) -> None:
    """Print the tables."""
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or another program takes whole lines
        console = Console(width=_WIDE, highlight=False)
    for shown in tables:
        console.print(
            f"[bold]{shown.title}[/] ({shown.source}): {shown.protocol}.", soft_wrap=console.is_terminal
        )
        table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII)
        table.add_column("network")
        table.add_column("from")
        for column in shown.columns:
            table.add_column(HEADINGS.get(column, column), justify="right")
        for network, kind, *cells in _rows(shown):
            table.add_row(network, kind, *cells, end_section=kind == PUBLISHED)
        console.print(table)
        for name, layers in shown.layers.items():
            console.print(_layer_table(name, layers, ascii_box=not console.is_terminal))
    console.print(f"{EXPLANATION}\nMeasured on {machine}.", soft_wrap=console.is_terminal)


def _rows(shown: Shown) -> Iterator[list[str]]:
    """The cells of each line; a network's name stands on its first line."""
    before = None
    for line in shown.lines:
        figures = [(column, shown.cell(line, column)) for column in shown.columns]
        cells = [in_words(value, column, published=line.published) for column, value in figures]
        yield ["" if line.network == before else line.network, line.kind, *cells]
        before = line.network


def _layer_table(name: str, layers: Sequence[Layer], *, ascii_box: bool) -> Table:
    table = Table(title=f"{name}: memory per layer", box=box.ASCII if ascii_box else box.SIMPLE_HEAD)
    table.add_column("convolution")
    for heading in ("output (channels × px)", "memory (MiB)", "parameters"):
        table.add_column(heading, justify="right")
    for layer in layers:
        output = " × ".join(map(str, layer.output))
        table.add_row(layer.name, output, f"{layer.megabytes:.3f}", f"{layer.parameters:,}")
    return table


def markdown(tables: Sequence[Shown], machine: str) -> str:
    """Write the tables as a page in Markdown."""
    lines = ["# Published tables and this machine", "", EXPLANATION, "", f"Measured on {machine}."]
    for shown in tables:
        size = "" if shown.size is None else f" Timed here for {shown.size[0]}×{shown.size[1]} px."
        lines += ["", f"## {shown.title}", f"{shown.source}: {shown.protocol}.{size}", ""]
        heads = ["network", "from", *(HEADINGS.get(column, column) for column in shown.columns)]
        lines += [_piped(heads), _piped(["---", "---", *["---:"] * len(shown.columns)])]
        lines += [_piped(cells) for cells in _rows(shown)]
        for name, layers in shown.layers.items():
            lines += ["", f"### {name}: memory per layer", ""]
            lines += [_piped(["convolution", "output", "MiB", "parameters"]), _piped(["---", *["---:"] * 3])]
            lines += [
                _piped(
                    [one.name, "×".join(map(str, one.output)), f"{one.megabytes:.3f}", f"{one.parameters:,}"]
                )
                for one in layers
            ]
    return "\n".join(lines) + "\n"


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_json(tables: Sequence[Shown], machine: str) -> str:
    """Write the tables as JSON: of each line the cells by column, None where nobody has a figure."""
    trees = [
        {
            "name": shown.name,
            "title": shown.title,
            "source": shown.source,
            "protocol": shown.protocol,
            "size": shown.size,
            "columns": shown.columns,
            "rows": [
                {
                    "network": line.network,
                    "from": line.kind,
                    **{c: None if (v := shown.cell(line, c)) == NONE else v for c in shown.columns},
                }
                for line in shown.lines
            ],
            "layers": {
                name: [
                    {"name": o.name, "output": o.output, "mib": o.megabytes, "parameters": o.parameters}
                    for o in layers
                ]
                for name, layers in shown.layers.items()
            },
        }
        for shown in tables
    ]
    return json.dumps({"machine": machine, "tables": trees}, indent=1)
