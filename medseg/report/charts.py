"""Charts of a run: learning curves, box plots, times and the confusion matrix, as PNG bytes."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from medseg.grid import Array
from medseg.metrics.table import PENALISED, ScoreRow
from medseg.report import mpl
from medseg.report.mpl import INK, QUIET, RULE, SERIES

METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95": "HD95",
    "assd": "ASSD",
    "nsd": "NSD",
    "bf": "BF",
    "size_error_percent": "relative volume difference (%)",
    "hd95_penalised": "HD95 with penalty",
    "assd_penalised": "ASSD with penalty",
}
"""Names of metrics for readers; see :func:`heading`."""

_LENGTHS = {"hd95", "assd", *PENALISED.values()}

SPREAD = ("dice", "hd95", "nsd", "size_error_percent")
"""Metrics whose spread over scans is shown."""

_SHARES = {"dice", "iou", "precision", "recall", "nsd", "bf"}
_TITLE_WIDTH = 22  # characters of a panel's title
_BARS_A_PANEL = 40
_NUMBERS_UP_TO = 30  # classes of a confusion matrix whose cells hold numbers
_OVER_SET = {"val/miou": "mIoU", "val/G": "G", "val/C": "C"}
_MEAN = "mean"

_Lines = dict[str, list[tuple[float, float]]]
"""Name → (epoch, value)."""


def heading(metric: str, length_unit: str) -> str:
    """Name of a metric as a column's or panel's heading, with the unit of lengths (mm or px)."""
    if metric == "size_error_percent" and length_unit == "px":
        return "relative area difference (%)"
    return METRIC_NAMES[metric] + (f" ({length_unit})" if metric in _LENGTHS else "")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw training against epochs: panels of loss, Dice and learning rate, as far as the history has them.

    ``history`` holds one mapping per epoch, as ``history.csv`` does: ``epoch``, and numbers (or cells of
    text, empty where nothing was measured) under names such as ``train/loss``, ``val/dice_GM``, ``lr``.
    Where it has mean IoU and accuracies over all validation images, these stand instead of Dice. Returns PNG.
    """
    panels = _panels(history)
    figure = mpl.figure(9.2, 2.9)
    for place, (kind, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        mpl.quiet_axes(axes)
        _draw_lines(axes, lines)
        axes.set_title(kind, color=INK, fontsize=10, loc="left")
        axes.set_xlabel("epoch", color=QUIET, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len({x for points in lines.values() for x, _ in points}) == 1:
            axes.set_xlim(
                axes.dataLim.x0 - 1, axes.dataLim.x1 + 1
            )  # else the ticks are fractions of an epoch
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.4, loc="best")
    figure.tight_layout(w_pad=2.5)
    return mpl.png(figure)


def _panels(history: Sequence[Mapping[str, Any]]) -> dict[str, _Lines]:
    """Heading → lines of each panel that has any."""
    over_set = {name: points for key, name in _OVER_SET.items() if (points := _points(history, key))}
    panels = {
        "loss": _lines(history, "loss"),
        **({"validation": over_set} if over_set else {"Dice": _few(_lines(history, "dice"))}),
        "learning rate": _lines(history, "lr"),
    }
    return {title: lines for title, lines in panels.items() if lines}


def _draw_lines(axes: Any, lines: _Lines) -> None:
    for number, (name, points) in enumerate(lines.items()):
        x, y = zip(*points, strict=True)
        marker = "o" if len(x) <= 30 else None
        axes.plot(
            x, y, color=SERIES[number % len(SERIES)], linewidth=1.6, label=name, marker=marker, markersize=3
        )


def _lines(history: Sequence[Mapping[str, Any]], kind: str) -> _Lines:
    """Name → (epoch, value) of the columns that belong to a panel; epochs without a value are skipped."""
    names = dict.fromkeys(name for row in history for name in row if _kind(name) == kind)
    by_column = {name: points for name in names if (points := _points(history, name))}
    return {re.sub(f"^val/{kind}[/_]", "", name): points for name, points in by_column.items()}


def _kind(column: str) -> str | None:
    """The panel of a column; a class may be called `loss` or `lr`, so `val/dice_…` is decided first."""
    if re.match("val/dice[/_]", column):
        return "dice"
    parts = re.split("[/_]", column.lower())
    return next((kind for kind in ("loss", "dice", "lr") if kind in parts), None)


def _points(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """(epoch, value) of a column."""
    cells = [(row.get("epoch", number), row.get(name)) for number, row in enumerate(history)]
    return [(float(epoch), float(cell)) for epoch, cell in cells if cell not in ("", None)]


def _few(lines: _Lines) -> _Lines:
    """A line per class as long as the colours suffice, otherwise the mean alone."""
    return {_MEAN: lines[_MEAN]} if len(lines) > len(SERIES) and _MEAN in lines else lines


def box_plots(
    rows: Sequence[ScoreRow],
    metrics: Sequence[str] = SPREAD,
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> bytes:
    """Draw a panel per metric and in it a box per class, every case as a point. Returns PNG.

    ``colours`` gives classes their RGB colour (0-255). Undefined values are left out.
    """
    names = list(dict.fromkeys(row.class_name for row in rows))
    given = colours or {}
    figure = mpl.figure(9.2, 3.1)
    for place, metric in enumerate(metrics, start=1):
        axes = figure.add_subplot(1, len(metrics), place)
        mpl.quiet_axes(axes)
        for position, name in enumerate(names):
            values = [v for r in rows if r.class_name == name and (v := getattr(r, metric)) is not None]
            rgb = given.get(name)
            colour = SERIES[position % len(SERIES)] if rgb is None else tuple(v / 255 for v in rgb)
            _draw_box(axes, position, values, colour)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 4 else 40)
        title = heading(metric, rows[0].length_unit if rows else "mm")
        axes.set_title(textwrap.fill(title, _TITLE_WIDTH), color=INK, fontsize=10, loc="left")
        if metric == "size_error_percent":
            axes.axhline(0, color=QUIET, linewidth=0.8)
        if metric in _SHARES:
            axes.set_ylim(top=1.005)
        elif metric != "size_error_percent":
            axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    figure.tight_layout(w_pad=2)
    return mpl.png(figure)


def _draw_box(axes: Any, position: int, values: Sequence[float], colour: Any) -> None:
    if not values:
        return
    line = {"color": INK, "linewidth": 1}
    axes.boxplot(
        values,
        positions=[position],
        widths=0.5,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": INK},
        medianprops={**line, "linewidth": 1.6},
        whiskerprops=line,
        capprops=line,
        manage_ticks=False,
    )
    # Spread the points evenly, in the order of the table, so that the same scores give the same figure.
    offsets = (np.arange(len(values)) * 0.618 % 1 - 0.5) * 0.34
    axes.scatter(position + offsets, values, s=12, color=colour, edgecolors=INK, linewidths=0.5, zorder=3)


def time_bars(bars: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw times: a stacked bar per name, with its parts in seconds.

    ``bars`` is, for instance, ``{"whole run": {"train": 812.0, …}, "one scan": {"read": 0.1, …}}``.
    Returns PNG.
    """
    figure = mpl.figure(9.2, 0.15 + 0.85 * len(bars))
    for place, (name, bar) in enumerate(bars.items(), start=1):
        axes = figure.add_subplot(len(bars), 1, place)
        axes.set_axis_off()
        whole = sum(bar.values())
        left = 0.0
        for number, (part, seconds) in enumerate(bar.items()):
            label = f"{part}  {duration(seconds)}"
            colour = SERIES[number % len(SERIES)]
            axes.barh(0, seconds, left=left, height=1, color=colour, edgecolor="white", label=label)
            left += seconds
        axes.set_xlim(0, whole or 1)
        style: dict[str, Any] = {"color": INK, "fontsize": 9, "va": "center", "transform": axes.transAxes}
        axes.text(-0.012, 0.5, name, ha="right", **style)
        axes.text(1.012, 0.5, duration(whole), ha="left", **style)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.008, -0.02),
            ncols=8,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            handlelength=0.9,
            handleheight=0.9,
            columnspacing=1.2,
        )
    figure.subplots_adjust(left=0.1, right=0.9, top=0.97, bottom=0.45 / figure.get_figheight(), hspace=1.6)
    return mpl.png(figure)


def duration(seconds: float) -> str:
    """Format seconds for readers: `0.42 s`, `37 s`, `12 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def class_bars(values: Mapping[str, float | None], colours: Mapping[str, tuple[int, int, int]]) -> bytes:
    """Draw a bar per class (class name → value, 0 to 1), in the order given and with its number. Returns PNG.

    ``colours`` are RGB, 0-255. A class that neither the truth nor the prediction has (None) is marked; long
    lists are drawn in panels side by side.
    """
    panels = math.ceil(len(values) / _BARS_A_PANEL)
    rows = math.ceil(len(values) / panels)
    figure = mpl.figure(9.2, 0.4 + 0.23 * rows)
    bars = list(values.items())
    for place in range(panels):
        axes = figure.add_subplot(1, panels, place + 1)
        _draw_class_bars(axes, bars[place * rows : (place + 1) * rows], colours)
        axes.set_ylim(rows - 0.4, -0.6)
    figure.tight_layout(w_pad=1.5)
    return mpl.png(figure)


def _draw_class_bars(
    axes: Any, bars: Sequence[tuple[str, float | None]], colours: Mapping[str, tuple[int, int, int]]
) -> None:
    for row, (name, value) in enumerate(bars):
        text, ink = ("in no image", QUIET) if value is None else (f"{value:.3f}", INK)
        colour = tuple(v / 255 for v in colours[name])
        axes.barh(row, value or 0, height=0.72, color=colour, edgecolor=QUIET, linewidth=0.4)
        style: dict[str, Any] = {"va": "center_baseline", "fontsize": 8, "color": ink}
        axes.annotate(text, (value or 0, row), xytext=(4, 0), textcoords="offset points", **style)
    axes.set_xlim(0, 1.12)  # room for the number beside a full bar
    axes.set_xticks((0, 0.5, 1))
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.tick_params(length=0, colors=INK, labelsize=8)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(RULE)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)


def confusion_figure(matrix: Array, names: Sequence[str]) -> bytes:
    """Draw a confusion matrix (K, K), rows = truth, as shares of each true class. Returns PNG.

    Cells shrink with the number of classes; those of long lists hold no numbers but have a colour bar.
    """
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    cell = min(0.62, max(7.6 / len(names), 0.085))  # inches
    side = 1.6 + cell * len(names)
    figure = mpl.figure(side + 0.9, side)
    axes = figure.add_subplot()
    numbered = len(names) <= _NUMBERS_UP_TO
    # Without numbers the square root lets rare confusions be seen.
    shown = axes.imshow(share if numbered else np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, **_slant(len(names)))
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, colors=INK, labelsize=min(9, 58 * cell))
    axes.set_xlabel("prediction", color=QUIET, fontsize=9)
    axes.set_ylabel("truth", color=QUIET, fontsize=9)
    axes.spines[:].set_color(RULE)
    if numbered:
        _write_shares(axes, matrix, share, cell)
    else:
        bar = figure.colorbar(shown, ax=axes, shrink=0.4, fraction=0.03, pad=0.015)
        bar.set_ticks([math.sqrt(p / 100) for p in _PER_CENT], labels=[f"{p} %" for p in _PER_CENT])
        bar.ax.tick_params(colors=INK, labelsize=9)
        bar.outline.set_visible(False)
    figure.tight_layout()
    return mpl.png(figure)


_PER_CENT = (0, 1, 5, 20, 50, 100)


def _slant(count: int) -> dict[str, Any]:
    """Style of names below columns: level where there are few, then slanted, then vertical."""
    if count <= 4:
        return {}
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if count <= 12 else {"rotation": 90}


def _write_shares(axes: Any, matrix: Array, share: Array, cell: float) -> None:
    """Write percentages into the cells; in small cells whole numbers, and none below 0.5 %."""
    roomy = cell >= 0.58
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9 if roomy else 24 * cell}
    for (row, column), value in np.ndenumerate(share):
        whole = f"{100 * value:.0f}" if value >= 0.005 else ""
        text = (f"{100 * value:.1f} %" if matrix[row, column] else "·") if roomy else whole
        if matrix[row].any():
            axes.text(column, row, text, color="white" if value > 0.55 else INK, **style)
    for row in np.flatnonzero(~matrix.any(axis=1)):
        axes.text((len(matrix) - 1) / 2, row, "not in the truth", color=QUIET, **style)
