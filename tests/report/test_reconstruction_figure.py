"""The figure of a slice beside its reconstruction."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medseg.report.reconstruction_figure import reconstruction_figure


def grey(figure: bytes) -> tuple[str, np.ndarray]:
    with Image.open(io.BytesIO(figure)) as image:
        return str(image.format), np.asarray(image.convert("L")).astype(int)


@pytest.mark.parametrize(("is_scan", "kind"), [(True, "PNG"), (False, "JPEG")])
def test_panels_stand_side_by_side_in_one_grey_scale(is_scan: bool, kind: str) -> None:
    values = np.zeros((20, 30), np.float32)
    values[:10] = 2  # of a scan the left side of the array, of an image its upper half
    known, pixels = grey(reconstruction_figure(values, values * 0.5, (1.0, 1.0), is_scan=is_scan))
    assert known == kind
    third = pixels.shape[1] // 3
    rows = pixels[60:]  # below the headings
    brightest = [int(rows[:, n * third + 20 : (n + 1) * third - 20].max()) for n in range(3)]
    assert brightest[0] > 245
    assert 110 < brightest[1] < 145 and 110 < brightest[2] < 145
    first = rows[:-20, 20 : third - 20]
    # Scans are shown as a radiologist sees them: the array's end on the left, dark here
    halves = (first[:, : first.shape[1] // 3], first[:, -first.shape[1] // 3 :])
    if is_scan:
        assert halves[0].mean() < 5 < 250 < halves[1].mean() + 10
    else:
        assert first[: len(first) // 3].mean() > 240 and first[-len(first) // 3 :].mean() < 10


def test_oblong_pixels_keep_their_shape() -> None:
    values = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    square = grey(reconstruction_figure(values, values, (1.0, 2.0), is_scan=False))[1].shape
    turned = grey(reconstruction_figure(values, values, (1.0, 2.0), is_scan=True))[1].shape
    assert abs(square[0] - square[1] / 3) < 60
    assert abs(turned[0] - turned[1] / 3) < 60


def test_a_flat_slice_is_drawn() -> None:
    flat = np.ones((8, 8), np.float32)
    assert grey(reconstruction_figure(flat, flat, (1.0, 1.0), is_scan=True))[0] == "PNG"
