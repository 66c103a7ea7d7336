"""Overlays of images in px: their own colours, true proportion, only the classes that are there."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medseg.classes import VOID, VOID_COLOUR, ClassList
from medseg.grid import Grid
from medseg.io import png
from medseg.report import colors, image_overlay, volume_overlay
from medseg.volume import Volume

CLASSES = ClassList.from_names(
    {0: "field", 1: "sky", 2: "ball"},
    {0: (40, 200, 40), 1: (60, 60, 230), 2: (230, 40, 40)},
    background=False,
)


def image(height: int = 60, width: int = 80, channels: int = 3, dtype: type = np.uint8) -> Volume:
    array = np.full((channels, height, width, 1), 128, dtype)
    return Volume(array, Grid((height, width, 1), np.eye(4), "px"))


def labels(height: int = 60, width: int = 80) -> np.ndarray:
    out = np.zeros((height, width, 1), np.uint8)
    out[: height // 2] = 1
    return out


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)


def share_of(picture: bytes, colour: tuple[int, ...]) -> float:
    return float((np.abs(pixels(picture) - colour).max(axis=2) <= 16).mean())


def tinted(colour: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(round((1 - colors.OPACITY) * 128 + colors.OPACITY * value) for value in colour)


def test_rows_run_downwards_as_in_the_file() -> None:
    drawn = pixels(volume_overlay.overlay(image(), CLASSES, truth=labels()))
    height, width = drawn.shape[:2]
    column = drawn[:, 3 * width // 4]  # through the truth
    sky, field = (np.abs(column - tinted(c)).max(axis=1) <= 16 for c in ((60, 60, 230), (40, 200, 40)))
    assert np.flatnonzero(sky).max() < np.flatnonzero(field).min() < height


def test_a_prediction_that_is_wrong_shows_where() -> None:
    wrong = labels()
    wrong[:20] = 2
    colour = tuple(round(0.85 * v + 0.15 * 0.4 * 128) for v in colors.ERRORS["wrong class"])
    right, off = (
        volume_overlay.overlay(image(), CLASSES, truth=labels(), prediction=p) for p in (labels(), wrong)
    )
    assert share_of(off, colour) > share_of(right, colour) + 0.03


def test_errors_without_a_background_are_all_of_one_kind() -> None:
    truth, guess = np.array([0, 0, 1, VOID], np.uint8), np.array([0, 1, 0, 1], np.uint8)
    assert colors.errors(truth, guess).tolist() == [0, 1, 2, 0]
    assert colors.errors(truth, guess, background=False).tolist() == [0, 3, 3, 0]


def test_void_in_a_prediction_is_a_missed_class() -> None:
    truth, guess = np.array([0, 1, VOID], np.uint8), np.array([VOID, VOID, 1], np.uint8)
    assert colors.errors(truth, guess).tolist() == [0, 2, 0]


def test_void_has_one_colour_in_label_maps_and_figures() -> None:
    truth = labels()
    truth[:, :40] = VOID
    classes = ClassList.from_names({0: "field", 1: "sky", 2: "ball"}, void_values=(255,))
    assert share_of(volume_overlay.overlay(image(), classes, truth=truth), VOID_COLOUR) > 0.1
    assert tuple(png._palette(classes)[3 * 255 :]) == VOID_COLOUR


def test_the_legend_names_what_is_there_and_no_more_than_fit() -> None:
    many = ClassList.from_names({k: f"class {k}" for k in range(150)}, background=False)
    flat = np.arange(40, dtype=np.uint8).reshape(5, 8)
    named = image_overlay._legend({"truth": flat, "prediction": flat}, many)
    assert len(named) == image_overlay._MOST_NAMED + 2
    assert "and 20 more" in named
    assert list(image_overlay._legend({"truth": np.array([[1, VOID]])}, CLASSES)) == [
        "sky",
        "void (ignored label)",
    ]
    two = ClassList.from_names({0: "other", 1: "cell"})
    both = {"truth": np.array([[0, 1]]), "prediction": np.array([[0, 1]])}
    assert list(image_overlay._legend(both, two)) == ["cell", "false positive", "false negative"]


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (40, 130)])
def test_panels_keep_their_proportion(size: tuple[int, int]) -> None:
    layout = image_overlay._layout(size[1] / size[0], 4, {"sky": (0, 0, 0)})
    assert layout.width / layout.height == pytest.approx(size[1] / size[0])
    assert layout.rows == (2 if size == (40, 130) else 1)
    assert volume_overlay.overlay(image(*size), CLASSES, truth=labels(*size), prediction=labels(*size))


def test_bits_are_shown_as_they_are_and_more_of_them_from_percentile_to_percentile() -> None:
    dark = np.full((3, 4, 4), 51, np.uint8)
    assert image_overlay.colours_of(dark).mean() == pytest.approx(0.2)
    assert image_overlay.colours_of(dark.astype(np.float32)).mean() == pytest.approx(0.2)
    deep = np.linspace(0, 4000, 160).reshape(1, 10, 16).astype(np.uint16)
    shown = image_overlay.colours_of(deep)
    assert shown.shape == (10, 16, 3)
    assert (shown.min(), shown.max()) == (0, 1)


def test_without_a_truth_prediction_and_confidence_stand_beside_the_image() -> None:
    confidence = np.full((60, 80, 1), 0.5, np.float32)
    one, two = (
        pixels(volume_overlay.overlay(image(channels=1), CLASSES, prediction=labels(), confidence=m)).shape[1]
        for m in (None, confidence)
    )
    assert two > one


def test_the_picture_is_always_the_same() -> None:
    first, again = (
        volume_overlay.overlay(image(), CLASSES, truth=labels(), prediction=labels()) for _ in range(2)
    )
    assert first == again
    assert first.startswith(b"\xff\xd8")
