"""Label maps and confidence maps of images to PNG: palette images whose indices are the class values.

Probabilities, of which there is one for each class, go to the pages of a TIFF, and so do numbers of objects,
which may be more than a PNG holds.

The same map gives the same bytes; a file is whole or not there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from medseg import files
from medseg.classes import VOID_COLOUR, ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.volume import Volume

SUFFIX = ".png"

FULL_SHARE = 65535
"""Stored value of a share of 1."""

_PALETTE_HOLDS = 255
_GREY_HOLDS = 65535


def write_labels(labels: Volume, classes: ClassList, path: Path) -> None:
    """Write a label map (1, H, W, 1) of file values as a palette PNG: index = value, colour = the class's.

    A class list with values above 255 gives a 16-bit grey PNG, which has no colours. Raises KEYWORD_INVALID
    for class values that no PNG holds.
    """
    values = [*classes.values, *classes.void_values[:1]]
    if min(values) < 0 or max(values) > _GREY_HOLDS:
        details = f"class values {min(values)} to {max(values)}, and label maps of images are PNG files"
        raise MedsegError(Code.KEYWORD_INVALID, path, details, f"use values from 0 to {_GREY_HOLDS}")
    pixels = _pixels(labels)
    most = _GREY_HOLDS if max(values) > _PALETTE_HOLDS else _PALETTE_HOLDS
    if pixels.min() < 0 or pixels.max() > most:
        raise ValueError(f"label values {pixels.min()} to {pixels.max()} where a PNG holds 0 to {most}")
    if most == _GREY_HOLDS:
        _write(Image.fromarray(pixels.astype(np.uint16)), path)
        return
    image = Image.fromarray(pixels.astype(np.uint8))
    image.putpalette(_palette(classes))
    _write(image, path)


def write_share(share: Volume, path: Path) -> None:
    """Write a map (1, H, W, 1) of shares in 0 to 1 as 16-bit grey PNG: share × 65535, rounded."""
    scaled = np.rint(np.clip(_pixels(share).astype(np.float64), 0, 1) * FULL_SHARE)
    _write(Image.fromarray(scaled.astype(np.uint16)), path)


def write_numbers(numbers: Volume, path: Path) -> None:
    """Write a map (1, H, W, 1) of objects' numbers, uint16 or uint32, as a TIFF of that type."""
    pixels = _pixels(numbers)
    with files.written_aside(path) as part:
        tifffile.imwrite(part, pixels, compression="zlib", metadata=None, software=False)


def write_pages(steps: Volume, path: Path) -> None:
    """Write maps (K, H, W, 1) uint8 as a TIFF of K grey pages."""
    first, *others = (Image.fromarray(np.ascontiguousarray(one[:, :, 0])) for one in steps.array)
    with files.written_aside(path) as part:
        first.save(part, format="TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")


def _pixels(volume: Volume) -> Array:
    """Give the rows and columns (H, W) of an image's only channel."""
    if len(volume.array) != 1 or volume.grid.shape[2] != 1:
        raise ValueError(f"one channel of one slice goes into a PNG, got {volume.array.shape}")
    return np.ascontiguousarray(volume.array[0, :, :, 0])


def _palette(classes: ClassList) -> bytes:
    """Give 256 colours: the classes', those of void, and black for all other values."""
    table = np.zeros((256, 3), np.uint8)
    void_colour = classes.void_colours[0] if classes.void_colours else VOID_COLOUR
    for value in classes.void_values:
        if 0 <= value <= _PALETTE_HOLDS:
            table[value] = void_colour
    for row in classes.classes:
        table[row.value] = row.colour
    return table.tobytes()


def _write(image: Image.Image, path: Path) -> None:
    with files.written_aside(path) as part:
        image.save(part, format="PNG")
