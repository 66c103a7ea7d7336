"""Overlays of cases: image, truth, prediction and errors, as PNG bytes; scans in three planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from nibabel import orientations

from medseg.classes import VOID, ClassList
from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.metrics.surface import bounding_box
from medseg.report import image_overlay, mpl
from medseg.report.colors import ERRORS, error_colours, errors, labelled, tint, warm
from medseg.volume import Volume

# Seen as a radiologist does: the viewer's left is the patient's right, and the nose points left.
_LETTERS: dict[Plane, tuple[str, str, str]] = {
    "axial": ("R", "L", "A"),
    "coronal": ("R", "L", "S"),
    "sagittal": ("A", "P", "S"),
}
_AIR = 0.08
_WINDOW_MARGIN = 3  # voxels
_BLACK = "#000000"
_FAINT = "#c3cad6"
_PANEL = 2.2  # inches of a column
_SIDE = 0.15  # inches at the left and right of each panel, for the letters
_GAP = 0.03
_STRIP = 0.19  # inches above each row, for the plane's name and the upper letter
_LOWEST = 0.3  # inches of a row: the letters beside a thin stack of slices need them


@dataclass(frozen=True, eq=False)
class _Shown:
    """A case turned to RAS+ (X, Y, Z); each plane is cut where ``weight`` is largest."""

    grey: Array
    truth: Array | None
    prediction: Array | None
    confidence: Array | None
    spacing: tuple[float, ...]
    head: Array
    weight: Array
    range: tuple[float, float]
    models: Mapping[str, Array]

    @property
    def columns(self) -> list[str]:
        """Names of the panels of a row."""
        if self.models:
            return ["image", *([] if self.truth is None else ["truth"]), *self.models]
        if self.truth is not None:
            return ["image", "truth", *([] if self.prediction is None else ["prediction", "errors"])]
        optional = {"prediction": self.prediction, "confidence": self.confidence}
        return ["image", *(name for name, array in optional.items() if array is not None)]


@dataclass(frozen=True)
class _Cut:
    """One plane's slice: its index, the window (rows, columns) shown, and a pixel's height and width."""

    plane: Plane
    index: int
    window: tuple[slice, ...]
    pixel: tuple[float, float]

    def of(self, array: Array) -> Array:
        """The cut of an array (X, Y, Z): rows from top to bottom, columns from left to right."""
        return _upright(array, self.plane, self.index)[self.window]

    @property
    def size(self) -> tuple[float, float]:
        """Height and width of the window in the grid's unit."""
        rows, columns = self.window
        return (rows.stop - rows.start) * self.pixel[0], (columns.stop - columns.start) * self.pixel[1]


def overlay(
    image: Volume,
    classes: ClassList,
    *,
    truth: Array | None = None,
    prediction: Array | None = None,
    confidence: Array | None = None,
    channel: int = 0,
    models: Mapping[str, Array] | None = None,
    case: str = "",
) -> bytes:
    """Draw a case in three planes, each through the slice with most foreground of truth and prediction.

    ``truth`` and ``prediction`` are class indices (X, Y, Z) on the image's grid, or bits of overlapping
    masks, which are outlined; ``confidence`` is a share in 0 to 1. With a truth the columns are image, truth,
    prediction, errors; without, image, prediction, and confidence if given. With ``models``, heading →
    prediction, there is a column for each of them after image and truth, and no other, and
    ``case``, its name, stands below the image's heading. Grey values run from
    the 1st to the 99th percentile of ``channel`` inside the head. Returns PNG. An image in px is drawn by
    :func:`image_overlay.overlay`, which returns JPEG.
    """
    if image.grid.unit == "px":
        return image_overlay.overlay(image, classes, truth, prediction, confidence, models, case)
    shown = _shown(image, channel, truth, prediction, confidence, models or {})
    head = image_overlay.HEAD_OF_TWO if models else 0.3
    cuts = [_cut(shown, plane) for plane in _LETTERS]
    # All planes at one scale: the widest fills its panel, the rows are as high as they need.
    width = max(cut.size[1] for cut in cuts)
    heights = [cut.size[0] * (_PANEL - 2 * _SIDE) / width for cut in cuts]
    rows = [_STRIP + max(height, _LOWEST) for height in heights]
    inches = (_PANEL * len(shown.columns) + 0.1, sum(rows) + head + 0.45)
    figure = mpl.figure(*inches, background=_BLACK)
    row_top = inches[1] - head
    for cut, height, row in zip(cuts, heights, rows, strict=True):
        _write_letters(figure, cut, row_top, row)
        top = row_top - _STRIP - (row - _STRIP + height) / 2
        row_top -= row
        for column, name in enumerate(shown.columns):
            left = 0.05 + column * _PANEL + _SIDE
            axes = figure.add_axes(
                (
                    left / inches[0],
                    top / inches[1],
                    (_PANEL - 2 * _SIDE) / inches[0],
                    height / inches[1],
                )
            )
            _draw(axes, _panel(shown, cut, name, classes), cut, width)
    for column, name in enumerate(shown.columns):
        x = (0.05 + (column + 0.5) * _PANEL) / inches[0]
        heading = image_overlay.heading(name, case)
        y = 1 - (head / 2 + 0.02) / inches[1]
        size = 8.5 if models else 10
        figure.text(x, y, mpl.plain(heading), color="white", size=size, ha="center", va="center")
    named = {classes.names[i]: classes.classes[i].colour for i in classes.foreground}
    named |= ERRORS if "errors" in shown.columns else {}
    mpl.legend(figure, named, min(len(named), 7 if len(shown.columns) > 3 else 4))
    return mpl.png(figure, dpi=110)


def _shown(
    image: Volume,
    channel: int,
    truth: Array | None,
    prediction: Array | None,
    confidence: Array | None,
    models: Mapping[str, Array],
) -> _Shown:
    turn = orientations.io_orientation(image.grid.affine)
    grey = orientations.apply_orientation(image.array[channel], turn)
    truth, prediction, confidence = (
        None if array is None else orientations.apply_orientation(array, turn)
        for array in (truth, prediction, confidence)
    )
    models = {name: orientations.apply_orientation(labels, turn) for name, labels in models.items()}
    weight = np.zeros(grey.shape, dtype=np.uint8)
    for labels in (truth, prediction, *models.values()):
        if labels is not None:
            weight += (labels > 0) & (labels != VOID)
    head, limits = _head(grey)
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = image.grid.spacing
    return _Shown(
        grey=grey,
        truth=truth,
        prediction=prediction,
        confidence=confidence,
        spacing=tuple(spacing),
        head=head,
        weight=weight if weight.any() else head,
        range=limits,
        models=models,
    )


def _head(grey: Array) -> tuple[Array, tuple[float, float]]:
    """A bool mask of voxels clearly brighter than air, and the range of grey values inside it."""
    low, high = float(grey.min()), float(np.percentile(grey, 99.5))
    head: Array = grey > low + _AIR * (high - low)
    inside = grey[head] if head.any() else grey
    first, last = np.percentile(inside, (1, 99))
    return head, (float(first), float(max(last, first + 1e-6)))


def _upright(array: Array, plane: Plane, index: int) -> Array:
    """Turn a slice of an RAS+ array for display: the higher of its two axes upwards, the other leftwards."""
    out: Array = np.take(array, index, axis=PLANE_AXIS[plane])[::-1, ::-1].T
    return out


def _cut(shown: _Shown, plane: Plane) -> _Cut:
    """The slice of a plane with the largest weight, and the window around the head in it."""
    axis = PLANE_AXIS[plane]
    across, up = (a for a in range(3) if a != axis)
    index = int(shown.weight.sum(axis=(across, up), dtype=np.int64).argmax())
    visible = _upright(shown.head, plane, index) | (_upright(shown.weight, plane, index) > 0)
    whole = tuple(slice(0, n) for n in visible.shape)
    window = bounding_box(visible, _WINDOW_MARGIN) if visible.any() else whole
    return _Cut(plane, index, window, (shown.spacing[up], shown.spacing[across]))


def _panel(shown: _Shown, cut: _Cut, name: str, classes: ClassList) -> Array:
    """One panel, (rows, columns, 3) float64 in 0 to 1."""
    first, last = shown.range
    grey = np.clip((cut.of(shown.grey).astype(np.float64) - first) / (last - first), 0, 1)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    if name in shown.models:
        return labelled(rgb, cut.of(shown.models[name]), classes)
    if name == "confidence" and shown.confidence is not None:
        return warm(cut.of(shown.confidence))
    if name == "truth" and shown.truth is not None:
        return labelled(rgb, cut.of(shown.truth), classes)
    if name == "prediction" and shown.prediction is not None:
        return labelled(rgb, cut.of(shown.prediction), classes)
    if name == "errors" and shown.truth is not None and shown.prediction is not None:
        wrong = errors(cut.of(shown.truth), cut.of(shown.prediction), background=classes.zero_is_outside)
        return tint(rgb * 0.6, wrong, error_colours(), opacity=1.0)
    return rgb


def _draw(axes: Any, rgb: Array, cut: _Cut, width: float) -> None:
    """Show a panel in true proportion, centred in a frame of ``width``."""
    height, own = cut.size
    axes.imshow(rgb, extent=(-own / 2, own / 2, 0, height), interpolation="nearest", aspect="auto")
    axes.set_xlim(-width / 2, width / 2)
    axes.set_ylim(0, height)
    axes.set_axis_off()


def _write_letters(figure: Figure, cut: _Cut, top: float, height: float) -> None:
    """Write the patient's sides and the slice's index in the RAS+ volume beside and above the first panel.

    ``top`` and ``height`` are those of the row in inches, with the strip above its panels.
    """
    width, whole = figure.get_size_inches()
    left, right, upper = _LETTERS[cut.plane]
    strip, middle = (top - _STRIP / 2) / whole, (top - _STRIP - (height - _STRIP) / 2) / whole
    for text, x, y, side, size in (
        (f"{cut.plane} {cut.index}", 0.08, strip, "left", 7),
        (upper, 0.05 + _PANEL / 2, strip, "center", 8),
        (left, 0.05 + _SIDE / 2, middle, "center", 8),
        (right, 0.05 + _PANEL - _SIDE / 2, middle, "center", 8),
    ):
        figure.text(x / width, y, text, color=_FAINT, size=size, ha=side, va="center")
