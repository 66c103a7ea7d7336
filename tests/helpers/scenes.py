"""Tiny colour images that every test of images can learn from: a sky over a field, a ball and a hut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (96, 128)
"""Rows and columns."""

VOID = 255
CLASSES = {
    7: {"name": "field", "colour": [90, 150, 60]},
    23: {"name": "sky", "colour": [70, 130, 180]},
    26: {"name": "ball", "colour": [220, 60, 40]},
    33: {"name": "hut", "colour": [150, 80, 170]},
}
"""Value → name and colour, values being as far apart as those of real sets."""

_LOOKS = {7: (70, 120, 50), 23: (150, 190, 230), 26: (200, 40, 50), 33: (180, 140, 90), VOID: (30, 30, 30)}


def scene(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-th image (96, 128, 3) uint8 and its mask (96, 128) uint8 of values, void at the lower edge."""
    generator = np.random.default_rng(n)
    rows, columns = np.indices(SIZE)
    horizon = 40 + int(generator.integers(-8, 9))
    mask = np.where(rows < horizon + 3 * np.sin(columns / 15), 23, 7).astype(np.uint8)
    left, width = (int(generator.integers(*bounds)) for bounds in ((8, 80), (24, 36)))
    mask[horizon - 16 : horizon + 8, left : left + width] = 33
    y, x, radius = (int(generator.integers(*bounds)) for bounds in ((60, 80), (15, 113), (8, 14)))
    mask[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 26
    mask[-5:] = VOID
    image = np.zeros((*SIZE, 3))
    for value, colour in _LOOKS.items():
        image[mask == value] = colour
    image += 0.3 * (48 - rows)[..., None] + generator.normal(0, 9, (*SIZE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def make_scenes(folder: Path, count: int) -> None:
    """Write `images/s00.png`, … in colour and `masks/s00.png`, … with a palette."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for n in range(count):
        image, mask = scene(n)
        Image.fromarray(image).save(folder / f"images/s{n:02}.png")
        drawn = Image.fromarray(mask)
        drawn.putpalette([v for k in range(256) for v in CLASSES.get(k, {"colour": [0, 0, 0]})["colour"]])
        drawn.save(folder / f"masks/s{n:02}.png")
