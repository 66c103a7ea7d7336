"""Charts of scores: their spread, volumes and confidence, classes and the confusion matrix, as SVG bytes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from medseg.grid import Array
from medseg.metrics import reliability
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
FEWEST_IN_A_BOX = 5
"""Values below which a box would pretend to more than they say; they are shown as points alone."""
_LOG_ABOVE = 30  # ratio of the largest to the smallest volume of an axis
_RASTER_ABOVE = 2000  # points of a panel that are drawn as pixels, so that the file stays small

Colours = Mapping[str, tuple[int, int, int]]
"""Class → RGB, 0-255."""


def heading(metric: str, length_unit: str) -> str:
    """Name of a metric as a column's or panel's heading, with the unit of lengths (mm or px)."""
    if metric == "size_error_percent" and length_unit == "px":
        return "relative area difference (%)"
    return METRIC_NAMES[metric] + (f" ({length_unit})" if metric in _LENGTHS else "")


def box_plots(
    rows: Sequence[ScoreRow], metrics: Sequence[str] = SPREAD, colours: Colours | None = None
) -> bytes:
    """Draw a panel per metric: every case as a point by class, from five cases on with a box. Returns SVG.

    Classes without a colour get one of a series. Undefined values are left out.
    """
    names = list(dict.fromkeys(row.class_name for row in rows))
    figure = mpl.figure(9.2, 3.1)
    for place, metric in enumerate(metrics, start=1):
        axes = figure.add_subplot(1, len(metrics), place)
        mpl.quiet_axes(axes)
        for position, name in enumerate(names):
            values = [v for r in rows if r.class_name == name and (v := getattr(r, metric)) is not None]
            _draw_box(axes, position, values, _colour(name, position, colours))
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), map(mpl.plain, names), rotation=0 if len(names) <= 4 else 40)
        title = heading(metric, rows[0].length_unit if rows else "mm")
        axes.set_title(textwrap.fill(title, _TITLE_WIDTH), color=INK, fontsize=10, loc="left")
        if metric == "size_error_percent":
            axes.axhline(0, color=QUIET, linewidth=0.8)
        if metric in _SHARES:
            low = axes.dataLim.ymin if np.isfinite(axes.dataLim.ymin) else 0.0
            axes.set_ylim(low - 0.06 * (1.005 - low), 1.005)
        elif metric != "size_error_percent":
            axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    figure.tight_layout(w_pad=2)
    return mpl.svg(figure)


def _colour(name: str, position: int, colours: Colours | None) -> Any:
    rgb = (colours or {}).get(name)
    return SERIES[position % len(SERIES)] if rgb is None else tuple(v / 255 for v in rgb)


def _draw_box(axes: Any, position: int, values: Sequence[float], colour: Any) -> None:
    line = {"color": INK, "linewidth": 1}
    if len(values) >= FEWEST_IN_A_BOX:
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
    _draw_points(axes, position + offsets, values, colour)


def _draw_points(axes: Any, x: Any, y: Sequence[float], colour: Any, label: str | None = None) -> None:
    style = {"color": colour, "edgecolors": INK, "linewidths": 0.5, "zorder": 3, "label": label}
    axes.scatter(x, y, s=14, rasterized=len(y) > _RASTER_ABOVE, **style)


def volume_scatter(rows: Sequence[ScoreRow], colours: Colours | None = None) -> bytes:
    """Draw predicted against true sizes, a point per case and class, and the line of equal ones. Returns SVG.

    Where sizes differ a lot, both axes are logarithmic beyond the smallest of them. Cases without a
    prediction are left out.
    """
    names = list(dict.fromkeys(row.class_name for row in rows))
    size = "area (px)" if _unit(rows) == "px" else "volume (ml)"
    figure, axes = _square(f"true {size}", f"predicted {size}")
    sizes = []
    for position, name in enumerate(names):
        pairs = [(r.reference_size, r.size) for r in rows if r.class_name == name and r.size is not None]
        if pairs:
            x, y = zip(*pairs, strict=True)
            _draw_points(axes, x, y, _colour(name, position, colours), mpl.plain(name))
            sizes += [*x, *y]
    positive = [size for size in sizes if size > 0]
    top = 1.08 * max(positive, default=1.0)
    low = 0.0
    if positive and max(positive) > _LOG_ABOVE * min(positive):
        low = 0.0 if len(positive) < len(sizes) else min(positive) / 1.5
        top = 1.5 * max(positive)
        axes.set_xscale("symlog", linthresh=min(positive))
        axes.set_yscale("symlog", linthresh=min(positive))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.plot((low, top), (low, top), color=QUIET, linewidth=0.8, zorder=1)
    axes.set_xlim(low, top)
    axes.set_ylim(low, top)
    if 1 < len(names) <= len(SERIES):
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best", handletextpad=0.2)
    figure.tight_layout()
    return mpl.svg(figure)


def confidence_scatter(confidence: Mapping[str, float], scores: Mapping[str, float], score: str) -> bytes:
    """Draw each case's mean score against its confidence, and their rank correlation from five cases on.

    Both are by case, in 0 to 1; ``score`` names the score. Cases that lack one are left out. Returns SVG.
    """
    both = [(confidence[case], value) for case, value in scores.items() if case in confidence]
    figure, axes = _square("confidence of the case (quality)", f"mean {score} of the case")
    x, y = zip(*both, strict=True) if both else ((), ())
    _draw_points(axes, x, y, SERIES[0])
    for values, set_limits in ((x, axes.set_xlim), (y, axes.set_ylim)):
        low, high = min(values, default=0.0), max(values, default=1.0)
        around = 0.2 * (high - low) + 0.01
        set_limits(max(-0.01, low - around), min(1.005, high + around))
    if len(both) >= FEWEST_IN_A_BOX and len(set(x)) > 1 and len(set(y)) > 1:
        rank = float(spearmanr(x, y).statistic)
        words = f"Spearman's rank correlation {rank:.2f}, n = {len(both)}"
        axes.set_title(words, color=QUIET, fontsize=9, loc="left")
    figure.tight_layout()
    return mpl.svg(figure)


def reliability_diagram(
    confidence: Mapping[str, float], predicted: Mapping[str, float], true: Mapping[str, float]
) -> bytes:
    """Draw each case's mean Dice against its predicted Dice, and the means of bins on the line of equal ones.

    ``confidence`` is the quality figure, drawn beside it; all are by case, 0 to 1. The expected calibration
    error of both stands in the legend. Cases that lack one are left out. Returns SVG.
    """
    figure, axes = _square("predicted Dice, or confidence, of the case", "mean Dice of the case")
    axes.plot((0, 1), (0, 1), color=QUIET, linewidth=0.8, zorder=1)
    for number, (name, values) in enumerate((("confidence", confidence), ("predicted Dice", predicted))):
        both = [(values[case], dice) for case, dice in true.items() if case in values]
        if not both:
            continue
        x, y = zip(*both, strict=True)
        error = reliability.expected_calibration_error(x, y)
        axes.scatter(
            x, y, s=9, color=SERIES[number], alpha=0.35, linewidths=0, rasterized=len(x) > _RASTER_ABOVE
        )
        parts = reliability.bins(x, y)
        label = f"{name}: calibration error {error:.3f}"
        means = ([part.predicted for part in parts], [part.true for part in parts])
        axes.plot(*means, color=SERIES[number], marker="o", markersize=5, linewidth=1.2, label=label)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", handletextpad=0.4)
    figure.tight_layout()
    return mpl.svg(figure)


def _square(x_label: str, y_label: str) -> tuple[Any, Any]:
    """A figure with one panel, and the panel."""
    figure = mpl.figure(4.5, 4.1)
    axes = figure.add_subplot()
    mpl.quiet_axes(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_xlabel(x_label, color=QUIET, fontsize=9)
    axes.set_ylabel(y_label, color=QUIET, fontsize=9)
    return figure, axes


def _unit(rows: Sequence[ScoreRow]) -> str:
    return rows[0].length_unit if rows else "mm"


def class_bars(values: Mapping[str, float | None], colours: Colours) -> bytes:
    """Draw a bar per class (class name → value, 0 to 1), in the order given and with its number. Returns SVG.

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
    return mpl.svg(figure)


def _draw_class_bars(axes: Any, bars: Sequence[tuple[str, float | None]], colours: Colours) -> None:
    for row, (name, value) in enumerate(bars):
        text, ink = ("in no image", QUIET) if value is None else (f"{value:.3f}", INK)
        colour = tuple(v / 255 for v in colours[name])
        axes.barh(row, value or 0, height=0.72, color=colour, edgecolor=QUIET, linewidth=0.4)
        style: dict[str, Any] = {"va": "center_baseline", "fontsize": 8, "color": ink}
        axes.annotate(text, (value or 0, row), xytext=(4, 0), textcoords="offset points", **style)
    axes.set_xlim(0, 1.12)  # room for the number beside a full bar
    axes.set_xticks((0, 0.5, 1))
    axes.set_yticks(range(len(bars)), [mpl.plain(name) for name, _ in bars])
    axes.tick_params(length=0, colors=INK, labelsize=8)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(RULE)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)


def confusion_figure(matrix: Array, names: Sequence[str]) -> bytes:
    """Draw a confusion matrix (K, K), rows = truth, as shares of each true class. Returns SVG.

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
    labels = [mpl.plain(name) for name in names]
    axes.set_xticks(range(len(names)), labels, **_slant(len(names)))
    axes.set_yticks(range(len(names)), labels)
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
    return mpl.svg(figure)


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
