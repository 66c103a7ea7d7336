"""Colours laid over pictures: those of classes, of void and of errors."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medseg.classes import VOID, ClassList
from medseg.grid import Array

RGB = tuple[int, int, int]

ERRORS: dict[str, RGB] = {
    "false positive": (255, 77, 77),
    "false negative": (64, 156, 255),
    "wrong class": (255, 214, 64),
}
"""Colours of foreground too much, foreground too little, and one class (or masks) taken for another."""

VOID_COLOUR: RGB = (150, 150, 150)

OPACITY = 0.6
FAINT = 0.3


def errors(truth: Array, prediction: Array, *, background: bool = True) -> Array:
    """Kind of error per voxel, uint8: 0 none (or void), 1, 2, 3 in the order of :data:`ERRORS`.

    Without a ``background``, every error is one class taken for another. Bits of overlapping masks are looked
    at together, and outside all of them is the background.
    """
    first = int(background)
    kinds = np.zeros(truth.shape, dtype=np.uint8)
    kinds[(truth < first) & (prediction >= first)] = 1
    kinds[(truth >= first) & (prediction < first)] = 2
    kinds[(truth >= first) & (prediction >= first) & (truth != prediction)] = 3
    kinds[truth == VOID] = 0
    return kinds


def class_colours(classes: ClassList) -> dict[int, RGB]:
    """Class index → colour, of the foreground and of void."""
    return {**{i: classes.classes[i].colour for i in classes.foreground}, VOID: VOID_COLOUR}


def labelled(rgb: Array, labels: Array, classes: ClassList) -> Array:
    """Lay classes over a picture; or overlapping masks, the largest lowest: a faint fill, then outlines."""
    if not classes.multilabel:
        return tint(rgb, labels, class_colours(classes))
    held = [(classes.holds(labels, i), classes.classes[i].colour) for i in classes.foreground]
    held.sort(key=lambda mask: -int(np.count_nonzero(mask[0])))
    out = tint(rgb, labels, {VOID: VOID_COLOUR})
    for mask, colour in held:
        out = tint(out, mask, {1: colour}, FAINT)
    for mask, colour in held:
        out = tint(out, mask & ~ndimage.binary_erosion(mask), {1: colour}, opacity=1.0)
    return out


def error_colours() -> dict[int, RGB]:
    """Kind of error (1, 2, 3) → colour."""
    return dict(enumerate(ERRORS.values(), start=1))


def tint(rgb: Array, labels: Array, colours: dict[int, RGB], opacity: float = OPACITY) -> Array:
    """Lay the labels' colours over a picture; labels without a colour leave it as it is.

    ``rgb`` (rows, columns, 3) in 0 to 1, ``labels`` (rows, columns).
    """
    out = rgb.copy()
    for label, colour in colours.items():
        at = labels == label
        out[at] = (1 - opacity) * rgb[at] + opacity * np.array(colour) / 255
    return out


def warm(share: Array) -> Array:
    """A share in 0 to 1 as black over orange to white: dark is unsure."""
    s = np.clip(share.astype(np.float64), 0, 1)[..., None]
    out: Array = np.clip(s * np.array([1.7, 1.25, 1.0]) - np.array([0.0, 0.25, 0.35]) * (1 - s), 0, 1)
    return out
