"""U-Net's weight map (Ronneberger et al. 2015): narrow background between two cells weighs more.

Cells are the connected foreground components of a slice, whatever their classes; pixels that touch at a
corner alone are not connected. Where the label tells objects apart, each object is a cell, and the
background that separates two that touch weighs most. The map is the exponential term of the paper's weight
w(x); the class balance w_c is the loss's class weights, to which it is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from medseg.classes import VOID
from medseg.grid import PLANE_AXIS, Array, Plane

NAME = "weight_map"
"""Its name among a prepared case's extra arrays."""

_NEGLIGIBLE = 6.0  # σ; the term is below 2e-8·w0 from there on


def weight_map(
    label: Array, plane: Plane, w0: float, sigma_px: float, instances: Array | None = None
) -> npt.NDArray[np.float16]:
    """w0·exp(−(d1 + d2)² / 2σ²) on the background of each slice of ``plane``: (X, Y, Z) like ``label``.

    d1 and d2 are the distances (px, in the slice) to the nearest and the second nearest cell. The map is 0 on
    foreground, on void (255), and in slices of fewer than two cells. ``instances`` (X, Y, Z) are the numbers
    of the objects; those pixels of an object are of its cell that ``label`` has as foreground, so that the
    separating background (:func:`medseg.preprocess.instances.separated`) is of none.
    """
    weights = np.zeros(label.shape, np.float16, order="F")
    arrays = (label, weights, label if instances is None else instances)
    slices = (np.moveaxis(array, PLANE_AXIS[plane], 0) for array in arrays)
    for labels, out, numbers in zip(*slices, strict=True):
        foreground = (labels != 0) & (labels != VOID)
        cells = _numbered(foreground) if instances is None else np.where(foreground, numbers, 0)
        distance = _two_nearest(cells, reach=math.ceil(_NEGLIGIBLE * sigma_px))
        out[...] = np.where(labels == 0, between(distance, w0, sigma_px), 0)
    return weights


def between(distance: Array, w0: float, sigma_px: float) -> Array:
    """The exponential term for d1 + d2 = ``distance`` px."""
    term: Array = w0 * np.exp(-(distance**2) / (2 * sigma_px**2))
    return term


def _numbered(foreground: Array) -> Array:
    """The connected components of a slice (H, W), numbered from 1."""
    from scipy import ndimage  # here, as every worker imports this module, and this takes 0.15 s

    return np.asarray(ndimage.label(foreground)[0])


def _two_nearest(cells: Array, reach: int) -> npt.NDArray[np.float64]:
    """d1 + d2 of each pixel of numbered cells (H, W); infinite where one is beyond ``reach`` px."""
    from scipy import ndimage

    nearest = np.full((2, *cells.shape), np.inf)
    for cell, place in _each(cells, reach):
        distance = ndimage.distance_transform_edt(~cell)
        first, second = nearest[(0, *place)], nearest[(1, *place)]
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    total: npt.NDArray[np.float64] = nearest.sum(axis=0)
    return total


def _each(cells: Array, reach: int) -> Iterator[tuple[Array, tuple[slice, slice]]]:
    """Each cell's mask in its box widened by ``reach``, and its place in the slice; none of one cell."""
    from scipy import ndimage

    boxes = [(number, box) for number, box in enumerate(ndimage.find_objects(cells), 1) if box is not None]
    if len(boxes) < 2:
        return
    for number, box in boxes:
        rows, columns = (slice(max(0, s.start - reach), s.stop + reach) for s in box)
        place = (rows, columns)
        yield cells[place] == number, place
