"""Figures of networks: a bar per convolution, and the ways of the features between stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from medseg.networks.contract import Network
from medseg.networks.tools.flow import Flow, Stage, Way, flow
from medseg.report import mpl
from medseg.report.mpl import INK, QUIET, RULE, SERIES

STYLES: dict[Way, tuple[str, str, str]] = {
    "next": ("straight on", QUIET, "-"),
    "pool": ("2×2 max-pooling", SERIES[1], "-"),
    "up": ("up-sampling", SERIES[2], "-"),
    "unpool": ("un-pooling", SERIES[6], "-"),
    "skip": ("skip, concatenated", SERIES[0], "-"),
    "positions": ("positions of the maxima", SERIES[3], ":"),
}
"""Name, colour and line style of each kind of way."""

_BAR, _GAP = 0.14, 0.06
"""Width of a convolution's bar and the gap between two, where stages are 1 apart."""


def architectures(networks: Sequence[tuple[str, Network]], side: int) -> bytes:
    """Draw networks under their titles, two per row, each for the smallest input from ``side`` px upwards.

    Their parameters may be on the ``meta`` device. Returns PNG.
    """
    rows = -(-len(networks) // 2)
    figure = mpl.figure(14, 3.9 * rows + 0.5)
    used: set[Way] = set()
    for place, (title, network) in enumerate(networks, start=1):
        drawn = flow(network, network.size_from(side))
        used |= {way for _, _, way in drawn.ways}
        axes = figure.add_subplot(rows, 2, place)
        count = sum(p.numel() for p in network.parameters())
        heading = f"{title}: {network.in_channels} → {network.classes}, {count:,} parameters"
        axes.set_title(heading, color=INK, fontsize=11, loc="left", pad=12)
        _draw(axes, drawn)
    keys = [*_bar_keys(), *(_way_key(way) for way in STYLES if way in used)]
    figure.legend(
        handles=keys, loc="lower center", ncols=len(keys), frameon=False, fontsize=9, labelcolor=INK
    )
    figure.tight_layout(rect=(0, 0.5 / (3.9 * rows + 0.5), 1, 1), w_pad=3, h_pad=2.5)
    return mpl.png(figure, dpi=110)


def _bar_keys() -> list[Any]:
    kinds = (("convolution, its channels above", SERIES[5]), ("1×1", "white"))
    return [Patch(facecolor=face, edgecolor=INK, label=words) for words, face in kinds]


def _way_key(way: Way) -> Any:
    words, colour, line = STYLES[way]
    return Line2D([], [], color=colour, linestyle=line, linewidth=1.6, label=words)


def _draw(axes: Any, drawn: Flow) -> None:
    stages = {stage.name: stage for stage in drawn.stages}
    for start, end, way in drawn.ways:
        _draw_way(axes, stages[start], stages[end], way)
    for stage in drawn.stages:
        _draw_bars(axes, stage)
    sizes = {stage.level: stage.size for stage in drawn.stages}
    for level, (height, width) in sizes.items():
        axes.text(-0.75, -level, f"{height}×{width}", color=QUIET, fontsize=8.5, ha="right", va="center")
        axes.axhline(-level, color=RULE, linewidth=0.6, zorder=0)
    axes.set_xlim(-0.7, max(stage.depth for stage in drawn.stages) + 0.6)
    axes.set_ylim(-max(sizes) - 0.8, 1.4)
    axes.set_axis_off()


def _draw_bars(axes: Any, stage: Stage) -> None:
    """Draw the stage's convolutions side by side, their output channels above; 1×1 ones are white."""
    height = 0.62 * 0.82**stage.level
    left = stage.depth - _width(stage) / 2
    for number, (kernel, _) in enumerate(stage.convolutions):
        x = left + number * (_BAR + _GAP)
        face = "white" if kernel == 1 else SERIES[5]
        bar = Rectangle(
            (x, -stage.level - height / 2), _BAR, height, facecolor=face, edgecolor=INK, linewidth=0.9
        )
        axes.add_patch(bar).set_zorder(3)
    channels = [str(outputs) for _, outputs in stage.convolutions]
    words = channels[0] if len(set(channels)) == 1 else " ".join(channels)
    axes.text(
        stage.depth,
        -stage.level + height / 2 + 0.06,
        words,
        color=INK,
        fontsize=7.5,
        ha="center",
        va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
    ).set_zorder(4)


def _width(stage: Stage) -> float:
    return len(stage.convolutions) * (_BAR + _GAP) - _GAP


def _draw_way(axes: Any, start: Stage, end: Stage, way: Way) -> None:
    """Draw an arrow from one stage's right edge to the other's left.

    Un-pooling between stages of one size comes from a pooled map of half that size, drawn below them.
    """
    left = start.depth + _width(start) / 2, float(-start.level)
    right = end.depth - _width(end) / 2, float(-end.level)
    if way == "unpool" and start.level == end.level:
        below = (left[0] + right[0]) / 2, -start.level - 0.62
        _draw_arrow(axes, left, below, "pool", 0.0)
        _draw_arrow(axes, below, right, way, 0.0)
    elif way in ("skip", "positions") and end.depth > start.depth + 1:
        _draw_arrow(axes, left, right, way, -0.27 if way == "skip" else -0.18)
    else:
        _draw_arrow(axes, left, right, way, 0.0)


def _draw_arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], way: Way, bend: float
) -> None:
    _, colour, line = STYLES[way]
    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=8,
        connectionstyle=f"arc3,rad={bend}",
        color=colour,
        linestyle=line,
        linewidth=1.3,
        shrinkA=1,
        shrinkB=1,
    )
    axes.add_patch(arrow).set_zorder(2)
