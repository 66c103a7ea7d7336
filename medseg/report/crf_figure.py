"""Score and belief maps of a class before and after each step of a dense CRF (DeepLab, Fig. 5), as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps

from medseg.grid import Array
from medseg.report import mpl

_PANEL = 1.5  # inches of a panel's width
_HEAD = 0.6
_STRIP = 0.22  # above each panel, for its heading
_GAP = 0.05
_IN_A_ROW = 6
_TALLEST = 1.6


@dataclass(frozen=True, eq=False)
class CRFStep:
    """Maps of a class (rows, columns) as displayed: the score before the softmax, the belief after it."""

    name: str
    score: Array
    belief: Array


def crf_figure(title: str, rgb: Array, steps: Sequence[CRFStep], aspect: float = 1.0) -> bytes:
    """Draw the image and, six steps in a row, the maps: scores above, beliefs below them.

    ``rgb`` (rows, columns, 3) in 0 to 1 is the image, ``aspect`` a pixel's height over its width. Scores
    share one scale, from the 1st to the 99th percentile of all steps; beliefs run from 0 to 1. Returns PNG.
    """
    height = min(_PANEL * rgb.shape[0] * aspect / rgb.shape[1], _PANEL * _TALLEST)
    blocks = [steps[first : first + _IN_A_ROW] for first in range(0, len(steps), _IN_A_ROW)]
    columns = 1 + max(map(len, blocks))
    pitch = height + _STRIP
    across, down = columns * (_PANEL + _GAP) + _GAP, _HEAD + 2 * len(blocks) * pitch + 0.1
    figure = mpl.figure(across, down, background="#000000")

    def show(column: int, row: int, heading: str, panel: Array) -> None:
        left, top = _GAP + column * (_PANEL + _GAP), down - _HEAD - row * pitch
        place = (left / across, (top - pitch) / down, _PANEL / across, height / down)
        axes: Any = figure.add_axes(place)
        axes.imshow(panel, aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        middle, above = (left + _PANEL / 2) / across, (top - _STRIP / 2) / down
        figure.text(middle, above, mpl.plain(heading), color="white", size=8, ha="center", va="center")

    show(0, 0, "image", np.clip(rgb, 0, 1))
    low, high = np.percentile(np.stack([step.score for step in steps]), (1, 99))
    for number, block in enumerate(blocks):
        for column, step in enumerate(block, 1):
            scaled = np.clip((step.score - low) / max(float(high - low), 1e-6), 0, 1)
            show(column, 2 * number, f"score, {step.name}", colormaps["viridis"](scaled)[..., :3])
            belief = colormaps["magma"](np.clip(step.belief, 0, 1))[..., :3]
            show(column, 2 * number + 1, f"belief, {step.name}", belief)
    centre = 1 - 0.5 * _HEAD / down
    figure.text(0.5, centre, mpl.plain(title), color="white", size=10, ha="center", va="center")
    return mpl.png(figure, dpi=110)
