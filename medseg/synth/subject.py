"""Synthetic subjects: the template's anatomy deformed, given a scanner's contrast, bias field and noise.

Everything random about a subject comes from one generator, seeded by (seed, subject number), in one order.
The labels are made from the deformed maps before any grey value is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.grid import Array, Grid
from medseg.synth.fields import random_matrix, smooth_field, unfolded
from medseg.synth.tissues import Tissues
from medseg.volume import Volume

CLASSES = {0: "background", 1: "CSF", 2: "GM", 3: "WM"}
"""Values in the label files, as in IBSR-18."""

ROTATION_DEGREES = 6.0
LOG_SCALE = 0.07
# (distance of control points, standard deviation) of the displacement along each axis, in mm
DEFORMATION_MM = ((40.0, 2.5), (16.0, 0.8))
BIAS_NODES_MM = 80.0
STRIP_VOXELS = 2


@dataclass(frozen=True)
class Contrast:
    """A scanner's grey values: white matter is ``white``, the rest are shares of it."""

    white: float
    grey: float
    csf: float
    texture: float
    mottle: float
    bias: float
    noise: float


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """A T1 weighting: CSF < GM < WM, with room between them above the noise."""
    grey = rng.uniform(0.66, 0.78)
    return Contrast(
        white=rng.uniform(400, 1200),
        grey=grey,
        csf=grey - rng.uniform(0.34, 0.48),
        texture=rng.uniform(0.5, 1.0),
        mottle=rng.uniform(0.005, 0.015),
        bias=rng.uniform(0.04, 0.12),
        noise=rng.uniform(0.015, 0.035),
    )


def make(tissues: Tissues, seed: int, number: int) -> tuple[Volume, Volume]:
    """Subject ``number`` of ``seed``: its T1 (1, X, Y, Z) int16 and its label map uint8, on the maps' grid.

    Skull-stripped, generously: a rim of :data:`STRIP_VOXELS` around the brain holds noise, all else is 0, so
    that brain and non-zero voxels are not the same. Label values are those of :data:`CLASSES`.
    """
    rng = np.random.default_rng([seed, number])
    where = draw_positions(tissues, rng)
    maps = [ndimage.map_coordinates(m, where, order=1) for m in (tissues.csf, tissues.gm, tissues.wm)]
    texture = ndimage.map_coordinates(tissues.texture, where, order=1)
    csf, gm, wm = shares(*maps)
    contrast = draw_contrast(rng)
    signal = contrast.csf * csf + contrast.grey * gm + wm
    signal += contrast.texture * texture * (signal > 0)
    image = _scanned(signal, contrast, tissues.spacing_mm, rng)
    labels = label_map(csf, gm, wm)
    image[~ndimage.binary_dilation(labels > 0, iterations=STRIP_VOXELS)] = 0
    grid = Grid(tissues.shape, tissues.affine)
    return Volume(image[np.newaxis], grid), Volume(labels[np.newaxis], grid)


def draw_positions(tissues: Tissues, rng: np.random.Generator) -> Array:
    """Positions in the template from which the subject's voxels are read, (3, X, Y, Z) in voxels."""
    matrix = random_matrix(rng, ROTATION_DEGREES, LOG_SCALE)
    shape, spacing = tissues.shape, tissues.spacing_mm
    displacement = np.stack(
        [
            sum(smooth_field(shape, spacing, nodes, sd / spacing, rng) for nodes, sd in DEFORMATION_MM)
            for _ in range(3)
        ]
    )
    return unfolded(shape, matrix, displacement)


def shares(*maps: Array) -> list[Array]:
    """Soft maps (X, Y, Z) → shares that sum to 1 inside the brain and are 0 outside it.

    The brain is where the maps together reach ½. Its rim, which is partly air, is thereby divided among
    the tissues, as a skull-stripped scan's is.
    """
    total = sum(maps)
    inverse = np.where(total >= 0.5, 1 / np.maximum(total, 0.5), 0).astype(np.float32)
    return [m * inverse for m in maps]


def label_map(csf: Array, gm: Array, wm: Array) -> Array:
    """Shares (X, Y, Z) → uint8 values of :data:`CLASSES`.

    GM or WM where its share reaches ½ (the larger, if both do), CSF inside the brain where neither does.
    """
    labels = np.where(csf + gm + wm > 0, np.uint8(1), np.uint8(0))
    labels[(gm >= 0.5) & (gm >= wm)] = 2
    labels[(wm >= 0.5) & (wm > gm)] = 3
    return labels


def _scanned(signal: Array, contrast: Contrast, spacing_mm: float, rng: np.random.Generator) -> Array:
    """A clean signal (1 = white matter) as a scanner shows it: mottle, bias field, Rician noise; int16."""
    shape = signal.shape
    mottle = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1.0)
    clean = signal * (1 + contrast.mottle / mottle.std() * mottle)
    clean *= np.exp(smooth_field(shape, spacing_mm, BIAS_NODES_MM, contrast.bias, rng))
    real, imaginary = contrast.noise * rng.standard_normal((2, *shape), dtype=np.float32)
    magnitude = contrast.white * np.hypot(clean + real, imaginary)
    return np.asarray(np.rint(magnitude), dtype=np.int16)
