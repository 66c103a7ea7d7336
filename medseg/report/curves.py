"""Charts of a run's course: learning curves and computing times, as SVG bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from medseg.report import mpl
from medseg.report.charts import Colours
from medseg.report.mpl import INK, QUIET, SERIES

_OVER_SET = {"val/miou": "mIoU", "val/G": "G", "val/C": "C", "val/BF": "BF"}
_MEAN = "mean"
_DICE = "validation Dice"
_LOSSES = {"train_loss": "training", "train/loss": "training", "val/loss": "validation"}
_PALE = 0.6  # luminance above which a line on white needs an edge
_LUMA = (0.299, 0.587, 0.114)

_Lines = dict[str, list[tuple[float, float]]]
"""Name → (epoch, value)."""


def learning_curves(history: Sequence[Mapping[str, Any]], colours: Colours | None = None) -> bytes:
    """Draw training against epochs: panels of loss, Dice and learning rate, as far as the history has them.

    ``history`` holds one mapping per epoch, as ``history.csv`` does: ``epoch``, and numbers (or cells of
    text, empty where nothing was measured) under names such as ``train_loss``, ``val/loss``, ``val/dice_GM``,
    ``lr``, and ``is_best``: a line marks the last epoch that has it, whose weights are kept. Where there are
    mean IoU and accuracies over all validation images, these stand instead of Dice. ``colours`` are those of
    classes, for their Dice. Returns SVG.
    """
    panels, best = _panels(history), best_epoch(history)
    figure = mpl.figure(9.2, 2.9)
    for place, (kind, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        mpl.quiet_axes(axes)
        _draw_lines(axes, lines, colours or {} if kind == _DICE else {})
        axes.set_title(kind, color=INK, fontsize=10, loc="left")
        axes.set_xlabel("epoch", color=QUIET, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len({x for points in lines.values() for x, _ in points}) == 1:
            axes.set_xlim(
                axes.dataLim.x0 - 1, axes.dataLim.x1 + 1
            )  # else the ticks are fractions of an epoch
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if best is not None:
            axes.axvline(best, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            if place == 1:
                style: dict[str, Any] = {
                    "color": QUIET,
                    "fontsize": 8,
                    "transform": axes.get_xaxis_transform(),
                }
                side = "right" if best > sum(axes.get_xlim()) / 2 else "left"
                axes.text(best, 1.01, f"best: epoch {best:g}", ha=side, va="bottom", **style)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.4, loc="best")
    figure.tight_layout(w_pad=2.5)
    return mpl.svg(figure)


def best_epoch(history: Sequence[Mapping[str, Any]]) -> float | None:
    """The epoch whose weights are kept; None where no validation chose one."""
    validated = any(
        row.get(name) not in ("", None) for row in history for name in row if name.startswith("val/")
    )
    epochs = [float(row["epoch"]) for row in history if str(row.get("is_best", "")) in ("1", "1.0", "True")]
    return epochs[-1] if epochs and validated else None


def _panels(history: Sequence[Mapping[str, Any]]) -> dict[str, _Lines]:
    """Heading → lines of each panel that has any."""
    over_set = {name: points for key, name in _OVER_SET.items() if (points := _points(history, key))}
    panels = {
        "loss": _lines(history, "loss"),
        **({"validation": over_set} if over_set else {_DICE: _few(_lines(history, "dice"))}),
        "learning rate": _lines(history, "lr"),
    }
    return {title: lines for title, lines in panels.items() if lines}


def _draw_lines(axes: Any, lines: _Lines, colours: Colours) -> None:
    for number, (name, points) in enumerate(lines.items()):
        x, y = zip(*points, strict=True)
        colour: Any = SERIES[number % len(SERIES)]
        if name in colours:
            colour = tuple(v / 255 for v in colours[name])
        elif colours:
            colour = INK  # the mean over classes
        style = {"color": colour, "linewidth": 1.6, "marker": "o" if len(x) <= 30 else None, "markersize": 3}
        if not isinstance(colour, str) and sum(v * w for v, w in zip(colour, _LUMA, strict=True)) > _PALE:
            axes.plot(x, y, color=QUIET, linewidth=2.6)
        axes.plot(x, y, label=mpl.plain(name), **style)


def _lines(history: Sequence[Mapping[str, Any]], kind: str) -> _Lines:
    """Name → (epoch, value) of the columns that belong to a panel; epochs without a value are skipped."""
    names = dict.fromkeys(name for row in history for name in row if _kind(name) == kind)
    by_column = {name: points for name in names if (points := _points(history, name))}
    return {
        _LOSSES.get(name) or re.sub(f"^val/{kind}[/_]", "", name): points
        for name, points in by_column.items()
    }


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


def time_bars(bars: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw times: a stacked bar per name, with its parts in seconds.

    ``bars`` is, for instance, ``{"whole run": {"train": 812.0, …}, "one scan": {"read": 0.1, …}}``.
    Returns SVG.
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
    return mpl.svg(figure)


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
