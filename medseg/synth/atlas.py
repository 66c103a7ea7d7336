"""The anatomy of many people as probabilities: the ICBM152 maps with ventricles told from sulcal fluid.

The maps are those of :mod:`medseg.synth.tissues`, at their own 1 mm. Each is the share of 152 people in whom
a place belongs to a tissue, so that single people can be drawn from them (:mod:`medseg.synth.anatomy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.grid import Array
from medseg.synth import tissues

Floats = npt.NDArray[np.float32]

_LATERAL_MM = (12.0, -10.0, 20.0)
"""A place in the body of the right lateral ventricle, in MNI coordinates."""

_VENTRICLES_MM = (
    ((-38, -19), (-30, -3), (-28, -5)),  # temporal horns
    ((19, 38), (-30, -3), (-28, -5)),
    ((-4, 4), (-24, 4), (-14, 4)),  # third
    ((-3, 3), (-38, -26), (-19, -2)),  # aqueduct
    ((-12, 12), (-52, -34), (-46, -18)),  # fourth
)
"""Boxes (x, y, z) in MNI coordinates in which fluid belongs to the smaller ventricles."""

_CISTERN_MM = ((-8, 8), (-48, -22), (-1, 24))
"""The box of the cistern of the great vein, which is deep but outside the ventricles."""

_DEEP_MM = ((-34, 34), (-34, 22), (-10, 22))
"""The box of thalamus and basal nuclei."""

_REACH_MM = 10.0
"""Distance from a ventricle up to which fluid belongs to it, unless a sulcus or cistern is nearer."""

_RING_MM = 4.0
"""Distance from a ventricle up to which thin layers of grey matter are partial volume of fluid and white."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """Maps (X, Y, Z) float32 at 1 mm, RAS+, with air around the brain.

    ``csf``, ``gm`` and ``wm`` sum to 1 where ``inside``, a map of the brain's hull, is 1. ``ventricle`` is
    the share of fluid that is in ventricles; ``outward`` (3, X, Y, Z) points away from them, at most of
    length 1, and ``near`` falls from 1 to 0 with the distance from them. ``deep`` is the share of grey matter
    that belongs to nuclei with much white matter. ``texture`` is the T1's deviation from its tissues' means.
    """

    csf: Floats
    gm: Floats
    wm: Floats
    inside: Floats
    ventricle: Floats
    outward: Floats
    near: Floats
    deep: Floats
    texture: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = self.gm.shape
        return x, y, z


@cache
def load() -> Atlas:
    """Read the templates inside nilearn; raises EXTRA_MISSING or FILE_MISSING without them."""
    t1, gm, wm, affine = tissues.templates()
    hull = tissues.hull(gm + wm)
    csf = hull * np.clip(1 - gm - wm, 0, 1)
    deep = _deep(gm, wm, affine)
    gm, wm = gm + 0.85 * deep * wm, wm - 0.85 * deep * wm
    ventricles = _ventricles(csf, hull, affine)
    csf, gm, wm = _without_rings(csf, gm, wm, ventricles)
    total = np.maximum(csf + gm + wm, np.float32(1e-3))
    signed = _signed_distance(ventricles)
    outward = np.stack(np.gradient(ndimage.gaussian_filter(signed, 2.0)))
    near = np.exp(-((np.maximum(signed, 0) / 14.0) ** 2))
    sulci = (csf > 0.5) & ~ventricles
    nearer = (signed < ndimage.distance_transform_edt(~sulci)) & (signed < _REACH_MM)
    membership = ndimage.gaussian_filter(nearer.astype(np.float32), 0.8)
    return Atlas(
        csf=(csf / total).astype(np.float32),
        gm=(gm / total).astype(np.float32),
        wm=(wm / total).astype(np.float32),
        inside=ndimage.gaussian_filter(hull.astype(np.float32), 0.7),
        ventricle=membership.astype(np.float32),
        outward=outward.astype(np.float32),
        near=near.astype(np.float32),
        deep=deep.astype(np.float32),
        texture=tissues.texture(t1, csf, gm, wm).astype(np.float32),
    )


def _mask(shape: tuple[int, ...], affine: Array, box: tuple[tuple[int, int], ...]) -> npt.NDArray[np.bool_]:
    """The voxels (X, Y, Z) bool inside a box in mm."""
    mask = np.zeros(shape, np.bool_)
    origin = affine[:3, 3]
    mask[tuple(slice(round(a - o), round(b - o) + 1) for (a, b), o in zip(box, origin, strict=True))] = True
    return mask


def _ventricles(csf: Array, hull: Array, affine: Array) -> npt.NDArray[np.bool_]:
    """The ventricles (X, Y, Z) bool: the deep fluid that holds a lateral one, and fluid in their boxes."""
    components, _ = ndimage.label((csf > 0.5) & (ndimage.distance_transform_edt(hull) > 10))
    seed = tuple(np.rint(np.subtract(_LATERAL_MM, affine[:3, 3])).astype(int))
    places = np.argwhere(components > 0)
    nearest = places[((places - seed) ** 2).sum(axis=1).argmin()]
    ventricles = components == components[tuple(nearest)]
    ventricles &= ~_mask(csf.shape, affine, _CISTERN_MM)
    for box in _VENTRICLES_MM:
        ventricles |= _mask(csf.shape, affine, box) & (csf > 0.4)
    return np.asarray(ventricles)


def _deep(gm: Array, wm: Array, affine: Array) -> Array:
    """The share of mixed voxels (X, Y, Z) that belongs to thalamus and basal nuclei."""
    mixed = (ndimage.gaussian_filter(gm, 1.5) > 0.2) & (ndimage.gaussian_filter(wm, 1.5) < 0.85)
    inside = _mask(gm.shape, affine, _DEEP_MM) & mixed & (gm + wm > 0.6)
    core = ndimage.binary_opening(inside, iterations=2).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(core, 1.0))


def _without_rings(csf: Array, gm: Array, wm: Array, ventricles: Array) -> tuple[Array, Array, Array]:
    """The maps without the layer of grey matter that voxels of fluid and white matter together look like."""
    ball = ndimage.generate_binary_structure(3, 1)
    thick = ndimage.grey_dilation(ndimage.grey_erosion(gm, footprint=ball), footprint=ball)
    thick = np.minimum(gm, ndimage.grey_opening(thick, size=(4, 4, 4)))
    close = ndimage.distance_transform_edt(~ventricles) <= _RING_MM
    ring = np.where(close, gm - thick, 0)
    share = csf / np.maximum(csf + wm, np.float32(1e-3))
    return csf + ring * share, gm - ring, wm + ring * (1 - share)


def _signed_distance(mask: Array) -> Array:
    """Distance (X, Y, Z) in voxels from the edge of a mask, negative inside."""
    return np.asarray(ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask))
