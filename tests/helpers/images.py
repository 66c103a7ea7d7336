"""Small pictures and masks as files, for tests of readers and of image sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (12, 16)
"""Rows and columns of the pictures."""


def draw(seed: int = 0, size: tuple[int, int] = SIZE) -> Any:
    """A picture in colours (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def stripes(values: Sequence[int], size: tuple[int, int] = SIZE) -> Any:
    """A mask (H, W) uint8 whose columns take the values in turn."""
    return np.broadcast_to(np.resize(np.array(values, np.uint8), size[1]), size).copy()


def save(path: Path, array: Any, palette: Sequence[tuple[int, int, int]] = ()) -> Path:
    """Write an array in the format of the path's suffix; with a palette as palette indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette:
        image.putpalette([part for colour in palette for part in colour])
    image.save(path)
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    """Cut a file's end off."""
    held = path.read_bytes()
    path.write_bytes(held[: int(len(held) * share)])
    return path
