"""Small slices of scans and images, packed while a file is read, and thumbnails that are made of them later.

Of each volume a few slices are kept, reduced and compressed, so that a label map that is read at another time
can say which of them shows most.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from PIL import Image

from medseg.classes import Colour
from medseg.grid import Array, Grid
from medseg.ingest.file_facts import Facts
from medseg.volume import Volume

SIDE = 150
"""Pixels of a thumbnail's longer side."""

_KEPT = 192
"""Pixels of the longer side of a slice of a scan, of which a thumbnail shows the part that is not air."""

SLICES = 5
_DARK = 128
_AIR = 20
_AROUND = 4
_GREYS = 64
_COLOURS = 128
"""Colours of a palette that are an image's own; those of classes follow."""


@dataclass(frozen=True)
class Slices:
    """Reduced slices (rows, columns) of one volume, or (rows, columns, 3) of one image in colours.

    ``weights`` are the voxels of foreground in each slice of a label map.
    """

    shape: tuple[int, ...]
    dtype: str
    packed: tuple[bytes, ...]
    weights: tuple[int, ...] = ()

    def at(self, index: int) -> Array:
        """Unpack one slice."""
        return np.frombuffer(zlib.decompress(self.packed[index]), self.dtype).reshape(self.shape)


def of_image(volume: Volume, facts: Facts) -> Slices:
    """Keep slices of the first channel, uint8, between the darkest and the brightest of its foreground."""
    if volume.grid.unit == "px":
        pixels = np.moveaxis(volume.array[:, :, :, 0], 0, -1)
        rgb = pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, axis=-1)
        small = _resized(_grey(rgb, facts), volume.grid.shape[:2], SIDE)
        return _packed([small])
    parts, size = _cuts(volume.array[0], volume.grid)
    return _packed([_resized(_grey(part, facts), size, _KEPT) for part in parts])


def of_label(volume: Volume) -> Slices:
    """Keep the same slices of a label map as of its image, int32, and count their foreground."""
    array = volume.array[0]
    if volume.grid.unit == "px":
        parts, size = [array[:, :, 0]], (float(array.shape[0]), float(array.shape[1]))
    else:
        parts, size = _cuts(array, volume.grid)
    weights = tuple(int(np.count_nonzero(part)) for part in parts)
    side = SIDE if volume.grid.unit == "px" else _KEPT
    return _packed([_nearest(np.rint(part).astype(np.int32), size, side) for part in parts], weights)


def merged(masks: list[Slices], value: int | None = None) -> Slices:
    """Lay masks of one image over each other: all as ``value``, or numbered from 1, the last on top."""
    same = [mask for mask in masks if mask.shape == masks[0].shape]
    parts = []
    for i in range(len(masks[0].packed)):
        part = np.zeros(masks[0].shape, np.int32)
        for number, mask in enumerate(same, 1):
            part[mask.at(i) != 0] = number if value is None else value
        parts.append(part)
    weights = tuple(int(sum(row)) for row in zip(*(mask.weights for mask in same), strict=True))
    return _packed(parts, weights)


def thumbnail(image: Slices, label: Slices | None, colours: Mapping[int, Colour]) -> bytes:
    """Draw the slice that shows most of the label map, or the middle one, with outlines of its areas, as PNG.

    Values without a colour are background.
    """
    fits = label is not None and label.shape == image.shape[:2] and len(label.packed) == len(image.packed)
    index = len(image.packed) // 2
    if fits and label is not None and any(label.weights):
        index = int(np.argmax(label.weights))
    pixels = image.at(index)
    values = label.at(index) if fits and label is not None else np.zeros(pixels.shape[:2], np.int32)
    if pixels.ndim == 2:
        pixels, values = _without_air(pixels, values)
    if pixels.ndim == 3:
        drawn = Image.fromarray(pixels).quantize(_COLOURS, Image.Quantize.FASTOCTREE)
    else:
        drawn = Image.fromarray((pixels.astype(np.uint16) * _GREYS // 256).astype(np.uint8), "P")
        drawn.putpalette([level * 255 // (_GREYS - 1) for level in range(_GREYS) for _ in range(3)])
    if values.any():
        drawn = _outlined(drawn, values, colours)
    content = io.BytesIO()
    drawn.save(content, "PNG", optimize=True)
    return content.getvalue()


def _without_air(pixels: Array, values: Array) -> tuple[Array, Array]:
    """Cut a slice and its labels to what is brighter than air, or labelled, and reduce it to a thumbnail."""
    inside = (pixels > _AIR) | (values != 0)
    box = []
    for axis in range(2):
        places = np.flatnonzero(inside.any(axis=1 - axis))
        n = inside.shape[axis]
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, n - 1)
        box.append(slice(max(0, first - _AROUND), min(n, last + 1 + _AROUND)))
    pixels, values = pixels[box[0], box[1]], values[box[0], box[1]]
    if max(pixels.shape) <= SIDE:
        return pixels, values
    size = float(pixels.shape[0]), float(pixels.shape[1])
    return _resized(pixels, size, SIDE), _nearest(values, size, SIDE)


def _outlined(drawn: Image.Image, values: Array, colours: Mapping[int, Colour]) -> Image.Image:
    """Draw the borders of areas into an image with a palette, whose free entries take the colours."""
    pixels = np.array(drawn)
    palette = (drawn.getpalette() or [])[: 3 * _COLOURS]
    palette += [0] * (3 * _COLOURS - len(palette))
    edges = _edges(values)
    shown = [value for value in np.unique(values[edges]).tolist() if value in colours]
    for number, value in enumerate(shown[: 256 - _COLOURS]):
        pixels[edges & (values == value)] = _COLOURS + number
        palette += colours[value]
    out = Image.fromarray(pixels, "P")
    out.putpalette(palette)
    return out


def _edges(values: Array) -> Array:
    """Mark the pixels of areas whose neighbour has another value, bool (rows, columns)."""
    out: Array = np.zeros(values.shape, bool)
    for axis in range(2):
        first, second = np.swapaxes(values, 0, axis)[:-1], np.swapaxes(values, 0, axis)[1:]
        differs = first != second
        turned = np.swapaxes(out, 0, axis)
        turned[:-1] |= differs
        turned[1:] |= differs
    return out


def _cuts(array: Array, grid: Grid) -> tuple[list[Array], tuple[float, float]]:
    """Slices (rows, columns) across the axis of the thickest slices, seen as a radiologist does; their mm."""
    turn = orientations.io_orientation(grid.affine)
    if np.isnan(turn).any():
        turn = orientations.io_orientation(np.eye(4))
    ras = orientations.apply_orientation(array, turn)
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = grid.spacing
    thickest = float(spacing.max())
    axis = 2 if spacing[2] > 0.8 * thickest else int(spacing.argmax())
    across, up = (a for a in range(3) if a != axis)
    n = ras.shape[axis]
    indices = [(2 * i + 1) * n // (2 * SLICES) for i in range(SLICES)] if n > 1 else [0]
    if n > 1:
        indices[SLICES // 2] = n // 2
    parts = [np.moveaxis(ras, axis, 0)[index][::-1, ::-1].T for index in indices]
    return parts, (float(ras.shape[up] * spacing[up]), float(ras.shape[across] * spacing[across]))


def _grey(part: Array, facts: Facts) -> Array:
    """Bring values to uint8, from black to white; 8-bit images stay, unless they are dark."""
    if part.dtype == np.uint8 and facts.grid.unit == "px" and facts.bright > _DARK:
        return part
    dark, bright = (facts.low, facts.bright) if facts.grid.unit == "px" else (facts.dark, facts.bright)
    share = (part.astype(np.float32) - np.float32(dark)) / np.float32(max(bright - dark, 1e-6))
    grey: Array = (np.clip(np.nan_to_num(share), 0, 1) * 255).astype(np.uint8)
    return grey


def _target(size: tuple[float, float], side: int) -> tuple[int, int]:
    """Rows and columns of a reduced image of something so high and wide."""
    longest = max(size)
    return max(1, round(side * size[0] / longest)), max(1, round(side * size[1] / longest))


def _resized(part: Array, size: tuple[float, float], side: int) -> Array:
    rows, columns = _target(size, side)
    drawn = Image.fromarray(np.ascontiguousarray(part))
    resampling = Image.Resampling.BOX if part.shape[0] >= rows else Image.Resampling.BILINEAR
    reduced: Array = np.asarray(drawn.resize((columns, rows), resampling))
    return reduced


def _nearest(part: Array, size: tuple[float, float], side: int) -> Array:
    rows, columns = _target(size, side)
    y = ((np.arange(rows) + 0.5) * part.shape[0] / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * part.shape[1] / columns).astype(int)
    nearest: Array = part[y[:, None], x]
    return nearest


def _packed(parts: list[Array], weights: tuple[int, ...] = ()) -> Slices:
    contents = tuple(zlib.compress(np.ascontiguousarray(part).tobytes(), 1) for part in parts)
    return Slices(parts[0].shape, parts[0].dtype.name, contents, weights)
