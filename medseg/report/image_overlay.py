"""Overlays of images in px: image, truth, prediction and errors side by side, as JPEG bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.classes import VOID, VOID_COLOUR, ClassList
from medseg.grid import Array
from medseg.report import mpl
from medseg.report.colors import ERRORS, RGB, error_colours, errors, labelled, tint, warm
from medseg.volume import Volume

_WIDEST = 2.6  # inches of a panel
_HIGHEST = 2.9
_GAP = 0.06
_HEAD = 0.3
HEAD_OF_TWO = 0.46
"""Inches of a heading of two lines."""

_PANELS_OF_MODELS = 5
_LEGEND_ROW = 0.24
_STACKED_ABOVE = 1.9
_MOST_NAMED = 20
_DPI = 150
_DIMMED = 0.4
_VOID: dict[int, RGB] = {VOID: VOID_COLOUR}  # drawn opaque: it is no class
_LUMA = np.array([0.299, 0.587, 0.114])
HEADINGS = {"confidence": "confidence (bright: high)"}
"""Headings of panels that are not their names."""


@dataclass(frozen=True)
class _Layout:
    """Panels of ``width`` × ``height`` inches in ``rows`` of ``columns``."""

    columns: int
    rows: int
    width: float
    height: float
    legend: int
    head: float = _HEAD

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height of the whole figure."""
        width = self.columns * (self.width + _GAP) + _GAP
        return width, self.rows * (self.height + self.head) + self.legend * _LEGEND_ROW + 0.12

    def place(self, number: int) -> tuple[float, float]:
        """Left and lower edge of a panel, in inches."""
        row, column = divmod(number, self.columns)
        top = self.inches[1] - row * (self.height + self.head) - self.head
        return _GAP + column * (self.width + _GAP), top - self.height


def overlay(
    image: Volume,
    classes: ClassList,
    truth: Array | None,
    prediction: Array | None,
    confidence: Array | None,
    models: Mapping[str, Array] | None = None,
    case: str = "",
) -> bytes:
    """Draw an image (C, H, W, 1) in its own colours, in true proportion, with the classes that it holds.

    ``truth`` and ``prediction`` are class indices (H, W, 1), ``confidence`` is a share in 0 to 1. With a
    truth the panels are image, truth, prediction, errors; without, image, prediction, and confidence if
    given. With ``models``, heading → prediction, they are image, truth, and one for each of these, five in a
    row, and ``case``, its name, stands below the image's heading. Wide images stand in two rows. Returns
    JPEG: a photograph has too many colours for a small PNG.
    """
    rgb = colours_of(image.array[..., 0])
    given = {"truth": truth, "prediction": prediction, "confidence": confidence if truth is None else None}
    flat = {name: array[..., 0] for name, array in given.items() if array is not None}
    panels = _panels(rgb, flat, classes)
    by_model = {name: array[..., 0] for name, array in (models or {}).items()}
    panels |= {name: _labelled(rgb, labels, classes) for name, labels in by_model.items()}
    legend = _legend(flat, classes, [*by_model.values()])
    layout = _layout(rgb.shape[1] / rgb.shape[0], len(panels), legend)
    if models:
        columns = min(len(panels), _PANELS_OF_MODELS)
        rows = math.ceil(len(panels) / columns)
        layout = replace(layout, columns=columns, rows=rows, head=HEAD_OF_TWO)
    figure = mpl.figure(*layout.inches, background="#000000")
    across, down = layout.inches
    for number, (name, panel) in enumerate(panels.items()):
        left, bottom = layout.place(number)
        axes = figure.add_axes((left / across, bottom / down, layout.width / across, layout.height / down))
        axes.imshow(np.clip(panel, 0, 1), aspect="auto")
        axes.set_axis_off()
        middle = (left + layout.width / 2) / across, (bottom + layout.height + layout.head / 2 - 0.02) / down
        title, size = mpl.plain(heading(name, case)), 8.5 if models else 10
        figure.text(*middle, title, color="white", size=size, ha="center", va="center")
    mpl.legend(figure, legend, _legend_columns(legend, layout.inches[0]))
    return mpl.jpeg(figure, dpi=_DPI)


def heading(panel: str, case: str) -> str:
    """The heading of a panel; that of the image has the case's name, if one is given."""
    return f"{panel}\n{case}" if panel == "image" and case else HEADINGS.get(panel, panel)


def colours_of(array: Array) -> Array:
    """RGB values of an image (C, H, W) for display, (H, W, 3) float64 in 0 to 1.

    Three channels are red, green, blue; of any other number the first is shown as grey. Eight bits are shown
    as they are; images of more bits are scaled from the 1st to the 99th percentile.
    """
    shown = array if len(array) == 3 else np.repeat(array[:1], 3, axis=0)
    if shown.dtype == np.uint8 or (shown.min() >= 0 and 1 < shown.max() <= 255 and shown.dtype.kind == "f"):
        low, high = 0.0, 255.0
    else:
        low, high = map(float, np.percentile(shown, (1, 99)))
    scaled = (np.moveaxis(shown, 0, -1).astype(np.float64) - low) / max(high - low, 1e-6)
    return np.clip(scaled, 0, 1)


def _panels(rgb: Array, flat: dict[str, Array], classes: ClassList) -> dict[str, Array]:
    """Name → panel (H, W, 3) float64 in 0 to 1."""
    panels = {"image": rgb}
    for name in ("truth", "prediction"):
        if name in flat:
            panels[name] = _labelled(rgb, flat[name], classes)
    if "truth" in flat and "prediction" in flat:
        dim = np.repeat(_DIMMED * (rgb @ _LUMA)[..., None], 3, axis=2)
        wrong = errors(flat["truth"], flat["prediction"], background=classes.zero_is_outside)
        panels["errors"] = tint(
            tint(dim, wrong, error_colours(), opacity=0.85), flat["truth"], _VOID, opacity=1
        )
    if "confidence" in flat:
        panels["confidence"] = warm(flat["confidence"])
    return panels


def _labelled(rgb: Array, labels: Array, classes: ClassList) -> Array:
    return tint(labelled(rgb, labels, classes), labels, _VOID, opacity=1)


def _legend(flat: dict[str, Array], classes: ClassList, others: Sequence[Array] = ()) -> dict[str, RGB]:
    """Name → colour of the largest classes, in the list's order, of void and of the kinds of errors."""
    counts = np.zeros(256, dtype=np.int64)
    for name in ("truth", "prediction"):
        if name in flat:
            counts += _counts(flat[name], classes)
    counts += sum((_counts(labels, classes) for labels in others), np.zeros_like(counts))
    present = [i for i in classes.foreground if counts[i]]
    largest = sorted(present, key=lambda i: -counts[i])[:_MOST_NAMED]
    named = {classes.names[i]: classes.classes[i].colour for i in sorted(largest)}
    if len(present) > _MOST_NAMED:
        named[f"and {len(present) - _MOST_NAMED} more"] = (0, 0, 0)
    if counts[VOID]:
        named["void (ignored label)"] = VOID_COLOUR
    if "truth" in flat and "prediction" in flat:
        kinds = list(ERRORS.items())
        named |= dict(kinds if classes.zero_is_outside else kinds[2:])
        if len(classes) == 2 and classes.background:
            del named["wrong class"]
    return named


def _counts(labels: Array, classes: ClassList) -> Array:
    """Pixels of each class index or mask, and of void, (256,)."""
    counts = np.bincount(labels.ravel(), minlength=256)
    if classes.multilabel:
        of_masks = [np.count_nonzero(classes.holds(labels, i)) for i in classes.foreground]
        counts[: len(classes)], counts[len(classes) : VOID] = of_masks, 0
    return counts


def _layout(aspect: float, panels: int, legend: dict[str, RGB]) -> _Layout:
    """Panels of true proportion (``aspect``: width / height) in one row, of four wide ones in two."""
    columns = 2 if aspect > _STACKED_ABOVE and panels == 4 else panels
    widest = _WIDEST * panels / columns if columns < panels else _WIDEST
    width = min(widest, _HIGHEST * aspect)
    across = columns * (width + _GAP)
    rows = math.ceil(len(legend) / _legend_columns(legend, across))
    return _Layout(columns, math.ceil(panels / columns), width, width / aspect, rows)


def _legend_columns(legend: dict[str, RGB], inches: float) -> int:
    """Number of names side by side: all that fit, or columns as wide as the longest name."""
    widths = [0.42 + 0.072 * len(name) for name in legend] or [inches]
    return len(widths) if sum(widths) <= inches else max(1, int(inches / max(widths)))
