"""A slice beside its reconstruction by an auto-encoder, and their difference, as PNG or JPEG bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.grid import Array
from medseg.report import mpl

_WIDTH = 2.4  # inches of a panel
_STRIP = 0.28
_GAP = 0.05
_DPI = 150


def reconstruction_figure(
    values: Array, output: Array, pixel: tuple[float, float], *, is_scan: bool
) -> bytes:
    """Draw scaled grey values (H, W), their reconstruction and the absolute difference, in one grey scale.

    The scale is from the 1st to the 99th percentile of ``values``; the difference starts at black. ``pixel``
    is a pixel's height and width. Slices of scans are turned for display, the higher axis upwards and the
    other leftwards, and come as PNG; images come as JPEG.
    """
    low, high = map(float, np.percentile(values, (1, 99)))
    span = max(high - low, 1e-6)
    panels = {
        "input": (values - low) / span,
        "reconstruction": (output - low) / span,
        "difference": np.abs(output - values) / span,
    }
    height, width = pixel
    if is_scan:
        panels = {name: panel[::-1, ::-1].T for name, panel in panels.items()}
        height, width = width, height
    rows, columns = panels["input"].shape
    tall = _WIDTH * rows * height / (columns * width)
    across, down = 3 * (_WIDTH + _GAP) + _GAP, tall + _STRIP + _GAP
    figure = mpl.figure(across, down, background="#000000")
    for number, (name, panel) in enumerate(panels.items()):
        left = _GAP + number * (_WIDTH + _GAP)
        axes: Any = figure.add_axes((left / across, _GAP / down, _WIDTH / across, tall / down))
        axes.imshow(panel, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        place = (left + _WIDTH / 2) / across, 1 - _STRIP / 2 / down
        figure.text(*place, name, color="white", size=10, ha="center", va="center")
    return mpl.png(figure, dpi=_DPI) if is_scan else mpl.jpeg(figure, dpi=_DPI)
