"""What a run looks like: learning curves, box plots, times and the confusion matrix, as PNG bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from medseg.evaluate.table import ScoreRow
from medseg.report import canvas
from medseg.report.canvas import INK, QUIET, RULE, SERIES
from medseg.volume import Array

METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95": "HD95",
    "assd": "ASSD",
    "nsd": "NSD",
    "size_error_percent": "size error %",
}
"""How metrics are written."""

_SHARES = {"dice", "iou", "precision", "recall", "nsd"}
_PANELS = ("loss", "dice", "miou", "lr")
_PANEL_NAMES = {"loss": "loss", "dice": "Dice", "miou": "mean IoU", "lr": "learning rate"}


def learning_curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw training against epochs: panels of loss, Dice, mean IoU and rate, as far as the history has them.

    ``history`` holds one mapping per epoch, as ``history.csv`` does: ``epoch``, and numbers (or cells of
    text, empty where nothing was measured) under names such as ``train/loss``, ``val/dice_GM``, ``lr``.
    Returns PNG.
    """
    panels = [(kind, lines) for kind in _PANELS if (lines := _lines(history, kind))]
    made = canvas.figure(9.2, 2.9)
    for place, (kind, lines) in enumerate(panels, start=1):
        axes = made.add_subplot(1, len(panels), place)
        canvas.quiet_axes(axes)
        _draw_lines(axes, lines)
        axes.set_title(_PANEL_NAMES[kind], color=INK, fontsize=10, loc="left")
        axes.set_xlabel("epoch", color=QUIET, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if len(lines) > 1:
            corner = "lower right" if kind == "dice" else "upper right"
            axes.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.4, loc=corner)
    made.tight_layout(w_pad=2.5)
    return canvas.png(made)


def _draw_lines(axes: Any, lines: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for number, (name, points) in enumerate(lines.items()):
        x, y = zip(*points, strict=True)
        marker = "o" if len(x) <= 30 else None
        axes.plot(
            x, y, color=SERIES[number % len(SERIES)], linewidth=1.6, label=name, marker=marker, markersize=3
        )


def _lines(history: Sequence[Mapping[str, Any]], kind: str) -> dict[str, list[tuple[float, float]]]:
    """Name → (epoch, value) of the columns that belong to a panel; epochs without a value are skipped."""
    found: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(history):
        for name, cell in row.items():
            if kind in name.lower().replace("_", "/").split("/") and cell not in ("", None):
                found.setdefault(name, []).append((float(row.get("epoch", number)), float(cell)))
    return {re.sub(f"^val/{kind}[/_]", "", name): points for name, points in found.items()}


def box_plots(
    rows: Sequence[ScoreRow],
    metrics: Sequence[str] = ("dice", "hd95", "nsd", "size_error_percent"),
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> bytes:
    """Draw a panel per metric and in it a box per class, every case as a point. Returns PNG.

    ``colours`` gives classes their RGB colour (0-255). Undefined values are left out.
    """
    names = list(dict.fromkeys(row.class_name for row in rows))
    given = colours or {}
    made = canvas.figure(9.2, 3.1)
    for place, metric in enumerate(metrics, start=1):
        axes = made.add_subplot(1, len(metrics), place)
        canvas.quiet_axes(axes)
        for position, name in enumerate(names):
            values = [v for r in rows if r.class_name == name and (v := getattr(r, metric)) is not None]
            rgb = given.get(name)
            colour = SERIES[position % len(SERIES)] if rgb is None else tuple(v / 255 for v in rgb)
            _draw_box(axes, position, values, colour)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 4 else 40)
        unit = f" ({rows[0].length_unit})" if metric in ("hd95", "assd") and rows else ""
        axes.set_title(METRIC_NAMES[metric] + unit, color=INK, fontsize=10, loc="left")
        if metric == "size_error_percent":
            axes.axhline(0, color=QUIET, linewidth=0.8)
        if metric in _SHARES:
            axes.set_ylim(top=1.005)
        elif metric != "size_error_percent":
            axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    made.tight_layout(w_pad=2)
    return canvas.png(made)


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
    # Spread the points evenly, in the order of the table, so that the same scores draw the same picture.
    offsets = (np.arange(len(values)) * 0.618 % 1 - 0.5) * 0.34
    axes.scatter(position + offsets, values, s=12, color=colour, edgecolors=INK, linewidths=0.5, zorder=3)


def time_bars(bars: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw where the time went: a stacked bar per name, its parts in seconds, its length its whole.

    ``bars`` is, for instance, ``{"whole run": {"train": 812.0, …}, "one scan": {"read": 0.1, …}}``.
    Returns PNG.
    """
    made = canvas.figure(9.2, 0.15 + 0.85 * len(bars))
    for place, (name, bar) in enumerate(bars.items(), start=1):
        axes = made.add_subplot(len(bars), 1, place)
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
    made.subplots_adjust(left=0.1, right=0.9, top=0.97, bottom=0.45 / made.get_figheight(), hspace=1.6)
    return canvas.png(made)


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.42 s`, `37 s`, `12 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def confusion_picture(matrix: Array, names: Sequence[str]) -> bytes:
    """Draw a confusion matrix (K, K), rows = truth, as shares of each true class. Returns PNG."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    side = 1.6 + 0.62 * len(names)
    made = canvas.figure(side + 0.9, side)
    axes = made.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 4 else 40)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.set_xlabel("prediction", color=QUIET, fontsize=9)
    axes.set_ylabel("truth", color=QUIET, fontsize=9)
    axes.spines[:].set_color(RULE)
    for (row, column), value in np.ndenumerate(share):
        text = "·" if matrix[row, column] == 0 else f"{100 * value:.1f} %"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=9, color="white" if value > 0.55 else INK
        )
    made.tight_layout()
    return canvas.png(made)
