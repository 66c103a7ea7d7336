"""The demo's anatomy: soft tissue maps made from the ICBM152 templates that ship inside nilearn.

The templates (Fonov et al., NeuroImage 54, 2011: the mean T1 of 152 people and the probabilities of grey
and white matter, 1 mm, skull-stripped) are read as files: nilearn.datasets is never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from medseg.errors import Code, MedsegError
from medseg.grid import Array

HULL_MM = 5.0
"""Closing radius of the brain's hull: sulci up to twice as wide are closed over and become CSF."""

SHARPEN = 2.0
"""Exponent that undoes some of the blur of averaging 152 people: maps become p² / Σ p²."""

_MAP = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_MARGIN_MM = 16
_SPACING_LIMITS = (1.0, 8.0)


@dataclass(frozen=True, eq=False)
class Tissues:
    """A brain as soft maps (X, Y, Z) float32 in 0-1 that sum to at most 1, on one RAS+ grid in mm.

    ``texture`` (X, Y, Z) float32 is the template T1's deviation from its tissues' mean values, as a
    share of white matter's: bright basal nuclei, dark cortex of the insula and the like. ``affine`` is
    (4, 4) float64.
    """

    csf: Array
    gm: Array
    wm: Array
    texture: Array
    affine: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = self.gm.shape
        return x, y, z

    @property
    def spacing_mm(self) -> float:
        """Edge length of the cubic voxels."""
        return float(self.affine[0, 0])


def load(spacing_mm: float = 2.0) -> Tissues:
    """Read the packaged templates and resample them to cubic voxels of ``spacing_mm`` (1 to 8).

    Raises EXTRA_MISSING if nilearn is not installed, KEYWORD_INVALID for another spacing.
    """
    low, high = _SPACING_LIMITS
    if not low <= spacing_mm <= high:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "spacing_mm",
            f"{spacing_mm:g} mm",
            f"choose {low:g} to {high:g} mm: the templates are 1 mm",
        )
    t1, gm, wm, affine = templates()
    csf = hull(gm + wm) * (1 - gm - wm)
    residual = texture(t1, csf, gm, wm)
    csf, gm, wm = (_resample(m, spacing_mm) for m in _sharpened(csf, gm, wm))
    return Tissues(csf, gm, wm, _resample(residual, spacing_mm), _resampled_affine(affine, spacing_mm))


def templates() -> tuple[Array, Array, Array, Array]:
    """The templates' T1, GM and WM (X, Y, Z) float32 in 0-1, with air around the brain, and their affine.

    Raises EXTRA_MISSING if nilearn is not installed, FILE_MISSING if it does not hold them.
    """
    t1, affine = _read("t1")
    return _frame(t1, _read("gm")[0], _read("wm")[0], affine)


def _read(name: str) -> tuple[Array, Array]:
    """A packaged template (X, Y, Z) float32 in 0-1, and its affine (RAS+, 1 mm)."""
    try:
        package = resources.files("nilearn")
    except ModuleNotFoundError:
        raise MedsegError(
            Code.EXTRA_MISSING,
            "synthetic subjects",
            "nilearn is not installed",
            "pip install 'medseg[train]'",
        ) from None
    with resources.as_file(package.joinpath("datasets", "data", _MAP.format(name))) as path:
        return _read_file(path)


def _read_file(path: Path) -> tuple[Array, Array]:
    if not path.is_file():
        raise MedsegError(
            Code.FILE_MISSING,
            path.name,
            "this nilearn does not hold the ICBM152 template",
            "install nilearn 0.11 or later",
        )
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj, dtype=np.float32) / 255, np.asarray(image.affine)


def _frame(t1: Array, gm: Array, wm: Array, affine: Array) -> tuple[Array, Array, Array, Array]:
    """The same maps with exactly ``_MARGIN_MM`` of air around the brain on every side."""
    inside = np.argwhere(gm + wm > 0.5)
    first, last = inside.min(axis=0), inside.max(axis=0) + 1
    cut = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    framed = [np.pad(a[cut], _MARGIN_MM) for a in (t1, gm, wm)]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ (first - _MARGIN_MM)
    return framed[0], framed[1], framed[2], moved


def hull(tissue: Array, radius: float = HULL_MM) -> Array:
    """The brain (X, Y, Z) bool: ``tissue`` above ½, closed by a ball of ``radius`` voxels, and filled.

    The array needs ``radius`` voxels of air around the brain.
    """
    grown = ndimage.distance_transform_edt(tissue <= 0.5) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    return np.asarray(ndimage.binary_fill_holes(closed | (tissue > 0.5)))


def texture(t1: Array, csf: Array, gm: Array, wm: Array) -> Array:
    """Residual of ``t1`` after each tissue's mean value, as a share of white matter's, in the brain."""
    maps = np.stack([m.ravel() for m in (csf, gm, wm)])
    brain = maps.sum(axis=0) > 0.5
    inside = maps[:, brain].astype(np.float64)
    values = t1.ravel()[brain].astype(np.float64)
    means = np.linalg.solve(inside @ inside.T, inside @ values)
    left = np.zeros(t1.size, dtype=np.float32)
    left[brain] = (values - means @ inside) / means[2]
    return left.reshape(t1.shape)


def _sharpened(*maps: Array) -> list[Array]:
    """Sharpen maps p (X, Y, Z), whose sum is 1 minus the share of air, to p² / Σ p²."""
    powers = [m**SHARPEN for m in maps]
    air = np.clip(1 - sum(maps), 0, 1) ** SHARPEN
    total = np.maximum(sum(powers) + air, np.finfo(np.float32).tiny)
    return [p / total for p in powers]


def _resample(array: Array, spacing_mm: float) -> Array:
    """1 mm voxels → mean-preserving linear samples at the centres of ``spacing_mm`` voxels, float32."""
    shape = tuple(int(n / spacing_mm) for n in array.shape)
    smooth = ndimage.gaussian_filter(array, (spacing_mm - 1) / 3, truncate=3) if spacing_mm > 1 else array
    offset = (spacing_mm - 1) / 2
    return np.asarray(
        ndimage.affine_transform(smooth, np.full(3, spacing_mm), offset, output_shape=shape, order=1),
        dtype=np.float32,
    )


def _resampled_affine(affine: Array, spacing_mm: float) -> Array:
    step = np.diag([spacing_mm] * 3 + [1.0])
    step[:3, 3] = (spacing_mm - 1) / 2
    return np.asarray(affine @ step, dtype=np.float64)
