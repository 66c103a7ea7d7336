"""A figure of one case for review: three planes, plain and with the outlines of its classes, as PNG bytes.

Drawn by pillow alone. It holds no name and no text chunk, and the same case gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from PIL import Image, ImageDraw, ImageFont

from medseg.classes import ClassList, Colour
from medseg.grid import PLANE_AXIS, Array, Grid, Plane
from medseg.infer.results import Result
from medseg.volume import Volume

_PANEL = 300
"""Pixels along the longer side of a panel."""
_GAP, _LETTER, _HEADING, _LINE = 8, 18, 22, 20
_AROUND_MM = 20.0
"""Surroundings of the labels that are shown."""
_AIR = 0.08
_MOST_SAMPLED = 2_000_000
_SIDEWAYS = 0.17
"""Share of a direction along an axis, about 10°, above which its letter is written too."""
_BLACK, _WHITE, _FAINT = (0, 0, 0), (255, 255, 255), (170, 178, 190)
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


@dataclass(frozen=True, eq=False)
class _Cut:
    """A plane's slice as radiologists see it: grey values and masks (rows, columns), pixel size in mm.

    `sides` are the letters at the left, right, top and bottom.
    """

    title: str
    grey: Array
    masks: tuple[Array, ...]
    pixel: tuple[float, float]
    sides: tuple[str, str, str, str]


def draw(image: Volume, masks: Sequence[Array], classes: ClassList, sizes: Mapping[str, float]) -> bytes:
    """Draw a case's first channel, and the outlines of masks (X, Y, Z) bool, one for each foreground class.

    Each plane is cut where most labelled voxels lie; the viewer's left is the patient's right, in sagittal
    planes the front. `sizes` in ml stand in the legend by the classes' names. Returns PNG.
    """
    rows = [classes.classes[index] for index in classes.foreground]
    cuts = _cuts(image, masks)
    panels = [_size(cut) for cut in cuts]
    widths, height = [width for width, _ in panels], max(height for _, height in panels)
    lines = [f"{row.name}  {sizes.get(row.name, 0.0):.1f} ml" for row in rows]
    total = sum(widths) + len(cuts) * (2 * _LETTER + _GAP) + _GAP
    legend = _legend(list(zip(lines, (row.colour for row in rows), strict=True)), total)
    step = height + 2 * _LETTER + _GAP
    canvas = Image.new("RGB", (total, _HEADING + 2 * step + legend.height), _BLACK)
    pen, left = ImageDraw.Draw(canvas), _GAP + _LETTER
    low, high = _window(image.array[0])
    for cut, (width, own_height) in zip(cuts, panels, strict=True):
        pen.text((left + width // 2, _HEADING // 2), cut.title, _WHITE, _font(13), anchor="mm")
        grey = _grey(cut, (width, own_height), low, high)
        top = _HEADING + _LETTER + (height - own_height) // 2
        for shown in (grey, _outlined(grey, cut, [row.colour for row in rows])):
            canvas.paste(shown, (left, top))
            _write_sides(pen, cut.sides, (left, top, left + width, top + own_height))
            top += step
        left += width + 2 * _LETTER + _GAP
    canvas.paste(legend, (0, _HEADING + 2 * step))
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", compress_level=3)  # the highest level takes ten times as long for 6 %
    return stream.getvalue()


def draw_result(result: Result, classes: ClassList) -> bytes:
    """Draw a result that holds its scan, as :func:`draw` does. Raises ValueError without a scan."""
    if result.scan is None:
        raise ValueError("a figure needs the scan")
    labels = result.labels.array
    if classes.multilabel:
        masks = [mask > 0 for mask in labels]
    else:
        masks = [labels[0] == classes.values[index] for index in classes.foreground]
    return draw(result.scan, masks, classes, result.sizes)


def _cuts(image: Volume, masks: Sequence[Array]) -> list[_Cut]:
    """The slice of each plane with most labelled voxels, or the middle one; cropped around the labels."""
    turn = orientations.io_orientation(image.grid.affine)
    grey = orientations.apply_orientation(image.array[0], turn)
    turned = [orientations.apply_orientation(mask, turn) for mask in masks]
    labelled = np.logical_or.reduce(turned) if turned else np.zeros(grey.shape, bool)
    spacing, directions = _turned_axes(image.grid, turn)
    box = _box(labelled, spacing)
    cuts = []
    for plane in _PLANES:
        axis = PLANE_AXIS[plane]
        across, up = (a for a in range(3) if a != axis)
        counts = np.count_nonzero(labelled, axis=(across, up))
        index = int(counts.argmax()) if counts.any() else grey.shape[axis] // 2
        window = (*box[:axis], index, *box[axis + 1 :])

        def of(array: Array, window: tuple[slice | int, ...] = window) -> Array:
            """A slice upright: the higher of its two axes upwards, the lower of them to the right."""
            upright: Array = array[window][::-1, ::-1].T
            return upright

        sides = (_letters(directions[across]), _letters(-directions[across]))
        ends = (_letters(directions[up]), _letters(-directions[up]))
        title = f"{plane} {index + 1} / {grey.shape[axis]}"
        cuts.append(
            _Cut(title, of(grey), tuple(map(of, turned)), (spacing[up], spacing[across]), (*sides, *ends))
        )
    return cuts


def _turned_axes(grid: Grid, turn: Array) -> tuple[Array, Array]:
    """Voxel edges (3,) in mm and directions (3, 3) of a grid's axes after they are turned towards RAS+."""
    spacing, directions = np.empty(3), np.empty((3, 3))
    for old, (new, sense) in enumerate(turn):
        spacing[int(new)] = grid.spacing[old]
        directions[int(new)] = sense * grid.affine[:3, old] / grid.spacing[old]
    return spacing, directions


def _letters(direction: Array) -> str:
    """The patient's sides that a direction (3,) in RAS points to, the nearest first: `R`, or `RA`."""
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(_ENDS[a][int(direction[a] > 0)] for a in order if abs(direction[a]) > _SIDEWAYS)


def _box(labelled: Array, spacing: Array) -> list[slice]:
    """The part of each axis that holds labels, with their surroundings; all of it without labels."""
    box = []
    for axis in range(3):
        along = np.flatnonzero(labelled.any(axis=tuple(a for a in range(3) if a != axis)))
        around = int(np.ceil(_AROUND_MM / spacing[axis]))
        ends = (along[0] - around, along[-1] + around + 1) if along.size else (0, labelled.shape[axis])
        box.append(slice(max(0, int(ends[0])), min(labelled.shape[axis], int(ends[1]))))
    return box


def _window(grey: Array) -> tuple[float, float]:
    """The grey values shown as black and white: the 1st and 99th percentile of what is brighter than air."""
    step = max(1, int(np.ceil((grey.size / _MOST_SAMPLED) ** (1 / 3))))
    sample = grey[::step, ::step, ::step].astype(np.float64)
    low, high = float(sample.min()), float(np.percentile(sample, 99.5))
    inside = sample[sample > low + _AIR * (high - low)]
    first, last = np.percentile(inside if inside.size else sample, (1, 99))
    return float(min(first, last)), float(max(last, first + 1e-6))


def _size(cut: _Cut) -> tuple[int, int]:
    """Width and height of a panel in pixels, in the proportion of the slice in mm."""
    height_mm, width_mm = (n * mm for n, mm in zip(cut.grey.shape, cut.pixel, strict=True))
    scale = _PANEL / max(height_mm, width_mm)
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def _grey(cut: _Cut, size: tuple[int, int], low: float, high: float) -> Image.Image:
    shares = np.clip((cut.grey.astype(np.float64) - low) / (high - low), 0, 1)
    grey = Image.fromarray(np.rint(shares * 255).astype(np.uint8))
    return grey.resize(size, Image.Resampling.BILINEAR).convert("RGB")


def _outlined(grey: Image.Image, cut: _Cut, colours: Sequence[Colour]) -> Image.Image:
    """Lay each mask's outline over a panel, the largest mask lowest."""
    pixels = np.array(grey)
    largest_first = sorted(range(len(colours)), key=lambda k: -int(np.count_nonzero(cut.masks[k])))
    for k in largest_first:
        mask = np.array(Image.fromarray(cut.masks[k]).resize(grey.size, Image.Resampling.NEAREST), bool)
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        pixels[mask & ~inner] = colours[k]
    return Image.fromarray(pixels)


def _write_sides(
    pen: ImageDraw.ImageDraw, sides: tuple[str, str, str, str], box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    middle, centre = (left + right) // 2, (top + bottom) // 2
    places = (
        (left - 3, centre, "rm"),
        (right + 3, centre, "lm"),
        (middle, top - 2, "mb"),
        (middle, bottom + 2, "mt"),
    )
    for letters, (x, y, anchor) in zip(sides, places, strict=True):
        pen.text((x, y), letters, _FAINT, _font(12), anchor=anchor)


def _legend(lines: Sequence[tuple[str, Colour]], width: int) -> Image.Image:
    """Squares of the classes' colours, each with its line, in as many rows as they need."""
    places, x, y = [], _GAP, _GAP
    for text, _ in lines:
        needed = int(_font(13).getlength(text)) + 2 * _LINE
        if x > _GAP and x + needed > width:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += needed
    legend = Image.new("RGB", (width, y + _LINE + _GAP), _BLACK)
    pen = ImageDraw.Draw(legend)
    for (text, colour), (left, top) in zip(lines, places, strict=True):
        pen.rectangle((left, top + 4, left + 11, top + 15), colour)
        pen.text((left + 17, top + 10), text, _WHITE, _font(13), anchor="lm")
    return legend


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
