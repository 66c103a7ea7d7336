"""Figures of Grad-CAM heat maps over their slices, as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps

from medseg.grid import Array
from medseg.report import mpl

_PANEL = 3.0  # inches
_HEAD = 0.55
_OPACITY = 0.65
_DIMMED = 0.6  # grey values under the heat
_OUTLINE = "#4cc9f0"


@dataclass(frozen=True, eq=False)
class GradCamSlice:
    """One slice of an RAS+ volume: grey values, heat in 0 to 1 and the predicted mask, each (H, W).

    ``pixel`` is the size of a pixel along H and W, ``name`` stands over it (`axial 12`). An image in px has
    ``colours`` (H, W, 3) in 0 to 1, which are shown as they lie.
    """

    name: str
    grey: Array
    heat: Array
    predicted: Array
    pixel: tuple[float, float]
    colours: Array | None = None

    def upright(self, array: Array) -> Array:
        """Turn an array (H, W) for display: an image stays as it is, a scan is seen as radiologists do.

        The second axis of a scan then runs upwards, the first leftwards.
        """
        out: Array = array if self.colours is not None else array[::-1, ::-1].T
        return out

    @property
    def size(self) -> tuple[float, float]:
        """Width and height on display, in the unit of ``pixel``."""
        along_h, along_w = (n * p for n, p in zip(self.grey.shape, self.pixel, strict=True))
        return (along_h, along_w) if self.colours is None else (along_w, along_h)


def gradcam_figure(title: str, slices: Sequence[GradCamSlice]) -> bytes:
    """Draw one column per slice: the slice with the predicted outline, and below it the heat map.

    Heat runs from none over red to white; grey values from the 1st to the 99th percentile of the slices.
    Returns PNG.
    """
    first, last = np.percentile(np.concatenate([s.grey.ravel() for s in slices]), (1, 99))
    grey = [np.clip((s.grey - first) / max(last - first, 1e-6), 0, 1) for s in slices]
    tall = max(s.size[1] / s.size[0] for s in slices) * _PANEL
    figure = mpl.figure(_PANEL * len(slices), 2 * tall + _HEAD, background="#000000")
    rows = figure.subplots(2, len(slices), squeeze=False)
    bottom = 1 - _HEAD / (2 * tall + _HEAD)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=bottom, wspace=0.02, hspace=0.02)
    for (above, below), shown, values in zip(rows.T, slices, grey, strict=True):
        rgb = np.repeat(shown.upright(values)[..., None], 3, axis=2)
        rgb = rgb if shown.colours is None else shown.colours
        aspect = shown.pixel[1] / shown.pixel[0]
        _show(above, rgb, aspect)
        predicted = shown.upright(shown.predicted)
        if predicted.any() and not predicted.all():
            above.contour(predicted, levels=[0.5], colors=[_OUTLINE], linewidths=1)
        above.set_title(shown.name, color="white", size=9, pad=3)
        heat = shown.upright(shown.heat)[..., None]
        dim = _DIMMED * rgb
        _show(below, dim + _OPACITY * heat * (colormaps["hot"](heat[..., 0])[..., :3] - dim), aspect)
    figure.text(0.5, 1 - 0.16 / (2 * tall + _HEAD), title, color="white", size=10, ha="center", va="center")
    return mpl.png(figure, dpi=110)


def _show(axes: Any, rgb: Array, aspect: float) -> None:
    axes.imshow(np.clip(rgb, 0, 1), aspect=aspect, interpolation="nearest")
    axes.set_axis_off()
