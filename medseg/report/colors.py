"""Colours laid over images: those of classes, of void and of errors."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries

from medseg.classes import VOID, VOID_COLOUR, ClassList
from medseg.grid import Array

RGB = tuple[int, int, int]

ERRORS: dict[str, RGB] = {
    "false positive": (255, 77, 77),
    "false negative": (64, 156, 255),
    "wrong class": (255, 214, 64),
}
"""Colours of too much foreground, too little foreground, and one class (or masks) taken for another."""

OPACITY = 0.6
FAINT = 0.3


def errors(truth: Array, prediction: Array, *, background: bool = True) -> Array:
    """Kind of error per voxel, uint8: 0 none (or void), 1, 2, 3 in the order of :data:`ERRORS`.

    Without a ``background``, every error is one class taken for another. Bits of overlapping masks are
    compared together; outside all of them is the background. Void in the prediction is background.
    """
    first = int(background)
    if background:
        prediction = np.where(prediction == VOID, 0, prediction)
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
    """Lay classes over an image; of overlapping masks a faint fill, the largest lowest, then outlines.

    ``rgb`` (rows, columns, 3) in 0 to 1, ``labels`` (rows, columns) class indices or bits of masks.
    """
    if not classes.multilabel:
        return tint(rgb, labels, class_colours(classes))
    masks = [(classes.holds(labels, i), classes.classes[i].colour) for i in classes.foreground]
    masks.sort(key=lambda mask: -int(np.count_nonzero(mask[0])))
    out = tint(rgb, labels, {VOID: VOID_COLOUR})
    for mask, colour in masks:
        out = tint(out, mask, {1: colour}, FAINT)
    for mask, colour in masks:
        out = tint(out, find_boundaries(mask, connectivity=1, mode="inner"), {1: colour}, opacity=1.0)
    return out


def error_colours() -> dict[int, RGB]:
    """Kind of error (1, 2, 3) → colour."""
    return dict(enumerate(ERRORS.values(), start=1))


def tint(rgb: Array, labels: Array, colours: dict[int, RGB], opacity: float = OPACITY) -> Array:
    """Lay the labels' colours over an image; labels without a colour leave it as it is.

    ``rgb`` (rows, columns, 3) in 0 to 1, ``labels`` (rows, columns).
    """
    out = rgb.copy()
    for label, colour in colours.items():
        at = labels == label
        out[at] = (1 - opacity) * rgb[at] + opacity * np.array(colour) / 255
    return out


def warm(share: Array) -> Array:
    """Map shares in 0 to 1 from black over orange to white, (…, 3) float64."""
    s = np.clip(share.astype(np.float64), 0, 1)[..., None]
    out: Array = np.clip(s * np.array([1.7, 1.25, 1.0]) - np.array([0.0, 0.25, 0.35]) * (1 - s), 0, 1)
    return out
