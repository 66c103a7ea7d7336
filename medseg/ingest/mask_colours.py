"""Masks in which each class has a colour of its own: which colours they show, and classes made of these.

Such a mask shows few colours, in areas. Where its edges were smoothed, or it was saved as JPEG, there are
hundreds of colours between; it is then no label map until it is saved again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.classes import Colour
from medseg.errors import MedsegError, some
from medseg.grid import Array
from medseg.io import images

MOST_COLOURS = 64
"""Colours of a mask; an image with more is a photograph, or a mask whose colours ran into each other."""

_NEARLY_ALL = 0.9
_MOST_SMOOTHED = 16
_HIGH_BITS = 0xE0E0E0
_NEAR = 3.0
"""Distance of a colour from the line between two others up to which it may be a mixture of them."""

_FILES = 3
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_BACKGROUNDS = {"background", "bg", "back ground", "hintergrund", "fond", "fondo", "none", "outside"}
_VOIDS = {"void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown", "undefined", "dontcare"}


@dataclass(frozen=True)
class Coloured:
    """Classes as value → name and value → colour; ``background`` is False where every colour is a class.

    ``void_colours`` are ignored. No classes at all where the masks cannot be read by their colours; the
    ``remarks`` say why, and else what is uncertain.
    """

    classes: Mapping[int, str]
    colours: Mapping[int, Colour]
    background: bool = True
    void_colours: tuple[Colour, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """The pixels of each colour of a mask; of its ``solid`` colours there are blocks of two by two pixels."""

    counts: Counter[Colour]
    solid: frozenset[Colour]


def packed(array: Array) -> Array:
    """One number for each pixel's colour, (H, W, 1) int32: 65536 red + 256 green + blue, of (3, H, W, 1)."""
    red, green, blue = array.astype(np.int32)
    return np.asarray(red << 16 | green << 8 | blue)


def is_in_colours(path: Path) -> bool:
    """True for an image without a palette whose red, green and blue differ somewhere."""
    if not images.can_read(path):
        return False
    try:
        array = images.read_values(path).array
    except MedsegError:
        return False
    return len(array) == 3 and bool((array != array[:1]).any())


def shown(path: Path) -> Shown | None:
    """The colours of an image; None where it cannot be read, or not in eight bits."""
    try:
        array = images.read_values(path, palette_as_colours=True).array
    except MedsegError:
        return None
    if array.dtype != np.uint8:
        return None
    numbers = packed(np.broadcast_to(array, (3, *array.shape[1:])))[..., 0]
    corner = numbers[:-1, :-1]
    blocks = (corner == numbers[1:, :-1]) & (corner == numbers[:-1, 1:]) & (corner == numbers[1:, 1:])
    values, counts = np.unique(numbers, return_counts=True)
    totals = Counter({_unpacked(n): c for n, c in zip(values.tolist(), counts.tolist(), strict=True)})
    return Shown(totals, frozenset(map(_unpacked, np.unique(corner[blocks]).tolist())))


def are_smoothed(colours: Array) -> bool:
    """True for pixels (:func:`packed`) of which nearly all are near one of a few colours: a mask as JPEG."""
    counts = np.unique(colours & _HIGH_BITS, return_counts=True)[1]
    return float(np.sort(counts)[-_MOST_SMOOTHED:].sum()) >= _NEARLY_ALL * colours.size


def survey(paths: Sequence[Path], root: Path, names: Mapping[Colour, str], *, all_read: bool) -> Coloured:
    """Read masks and make a class of each colour, called as ``names`` says or by its hexadecimal digits.

    Black is the background, white where there is no black, unless a name says otherwise. Where not
    ``all_read``, colours that have a name are classes, too, though no mask that was read shows them.
    """
    read = {path.relative_to(root).as_posix(): own for path in paths if (own := shown(path))}
    mixed = _mixtures(read.values(), names)
    smoothed = [
        name for name, own in read.items() if len(own.counts) > MOST_COLOURS or mixed & own.counts.keys()
    ]
    if smoothed or not read:
        return Coloured({}, {}, remarks=(_not_by_colour(smoothed),))
    total: Counter[Colour] = sum((own.counts for own in read.values()), Counter())
    seen = [*total, *(colour for colour in names if not all_read and colour not in total)]
    if len(seen) > MOST_COLOURS:
        text = (
            f"the masks show {len(seen)} colours, too many for classes: is each object a colour of its own?"
        )
        return Coloured({}, {}, remarks=(text,))
    voids = tuple(sorted(c for c in seen if names.get(c, "").casefold() in _VOIDS))
    background = _background(set(seen) - {*voids}, names)
    first = [] if background is None else [background]
    rest = sorted({*seen} - {*voids, *first}, key=lambda c: (_place(c, names), -total[c], c))
    remarks = _remarks(background, names, [*first, *rest], all_read=all_read, read=len(read))
    colours = dict(enumerate([*first, *rest]))
    classes = {value: names.get(colour) or _hex_name(colour) for value, colour in colours.items()}
    if first:
        classes[0] = "background"
    if len(classes) < 2:
        return Coloured({}, {}, remarks=("the masks show one colour alone",))
    return Coloured(classes, colours, bool(first), voids, remarks)


def _not_by_colour(smoothed: Sequence[str]) -> str:
    if not smoothed:
        return "the masks could not be read as images of eight bits a colour"
    text = f"{some(smoothed, _FILES)}: there are colours between those of the classes, for edges"
    return f"{text} were smoothed, or the masks saved as JPEG: export them again as PNG without smoothing"


def _mixtures(masks: Collection[Shown], names: Container[Colour]) -> set[Colour]:
    """Colours without a name that are nowhere solid and lie between two that are; two of them or none.

    One alone may be the outline that people draw around objects.
    """
    solid = frozenset[Colour]().union(*(own.solid for own in masks))
    others = {colour for own in masks for colour in own.counts if colour not in solid and colour not in names}
    pairs = np.array(list(itertools.combinations(sorted(solid), 2)), float).reshape(-1, 2, 3)
    mixed = {colour for colour in others if _is_between(np.array(colour, float), pairs)}
    return mixed if len(mixed) > 1 else set()


def _is_between(colour: Array, pairs: Array) -> bool:
    """True for a colour (3,) near the line between the two of any of ``pairs`` (N, 2, 3)."""
    along = pairs[:, 1] - pairs[:, 0]
    place = ((colour - pairs[:, 0]) * along).sum(1) / (along**2).sum(1)
    distance = np.linalg.norm(pairs[:, 0] + place[:, None] * along - colour, axis=1)
    return bool(((place > 0) & (place < 1) & (distance <= _NEAR)).any())


def _background(seen: Collection[Colour], names: Mapping[Colour, str]) -> Colour | None:
    """The colour of the background: the one with that name, else black or white if neither has a name."""
    for colour, name in names.items():
        if colour in seen and name.casefold() in _BACKGROUNDS:
            return colour
    return next((colour for colour in (_BLACK, _WHITE) if colour in seen and colour not in names), None)


def _place(colour: Colour, names: Mapping[Colour, str]) -> int:
    """The place of a colour's name among all names; colours without one come last."""
    return list(names).index(colour) if colour in names else len(names)


def _remarks(
    background: Colour | None,
    names: Mapping[Colour, str],
    colours: Sequence[Colour],
    *,
    all_read: bool,
    read: int,
) -> tuple[str, ...]:
    """Sentences about what the colours do not say themselves."""
    remarks = []
    unnamed = [_hex_name(colour) for colour in colours if colour not in names and colour != background]
    if unnamed:
        listed = some(unnamed, 6)
        remarks.append(f"classes are called by their colours, for nothing in the folder names them: {listed}")
    if background is None:
        remarks.append("every colour is a class; if one is the background, call its class background")
    elif background not in names:
        shade = "black" if background == _BLACK else "white"
        remarks.append(f"{shade} is taken for the background")
    if not all_read:
        remarks.append(f"colours are those of {read} masks; a mask with another colour will be excluded")
    return tuple(remarks)


def _unpacked(number: int) -> Colour:
    return number >> 16, number >> 8 & 255, number & 255


def _hex_name(colour: Colour) -> str:
    return "colour_{:02x}{:02x}{:02x}".format(*colour)
