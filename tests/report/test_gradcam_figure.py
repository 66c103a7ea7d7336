"""The picture of heat maps: one column a slice, whatever the slices hold."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg.report.gradcam_figure import GradCamSlice, gradcam_figure


def a_slice(heat: Any, predicted: Any) -> GradCamSlice:
    grey = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    return GradCamSlice("axial 3", grey, np.full((20, 30), heat, np.float32), predicted, (1.0, 2.0))


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize("columns", [1, 3])
def test_columns_and_proportions(columns: int) -> None:
    shown = np.zeros((20, 30), bool)
    shown[5:10, 5:20] = True
    drawn = pixels(gradcam_figure("s0: wm", [a_slice(0.5, shown)] * columns))
    height, width = drawn.shape[:2]
    assert width == pytest.approx(330 * columns, abs=2)
    assert height == pytest.approx(2 * 330 * 3 + 0.55 * 110, abs=2)  # 30 px of 2 mm over 20 px of 1 mm


def test_heat_is_red_and_none_is_grey() -> None:
    none = np.zeros((20, 30), bool)
    cold, hot = (pixels(gradcam_figure("", [a_slice(h, none)])) for h in (0.0, 0.4))
    below = slice(cold.shape[0] // 2 + 40, None)
    assert np.abs(cold[below, :, 0] - cold[below, :, 2]).max() <= 8
    assert (hot[below, :, 0] - hot[below, :, 2]).mean() > 10


def test_an_outline_is_drawn_only_where_there_is_an_edge() -> None:
    some = np.zeros((20, 30), bool)
    some[5:10, 5:20] = True
    bare, whole, edged = (
        pixels(gradcam_figure("", [a_slice(0.0, p)]))
        for p in (np.zeros_like(some), ~np.zeros_like(some), some)
    )
    np.testing.assert_array_equal(bare, whole)
    assert (edged != bare).any()
