"""One person's anatomy, drawn from an atlas of many: deformed, then folded as the probabilities allow.

Where the deformed maps say that a place is fluid in 20 % of people and white matter in 30 %, a random field
z, smooth over a few millimetres, is compared with two quantiles of the normal distribution: below that of
20 % is fluid, above that of 70 % white matter, between them grey matter. So every person has sharp tissues,
grey matter lies between fluid and white matter as in the cortex, and over many people the shares are those of
the maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional as F

from medseg.grid import Array
from medseg.synth.atlas import Atlas, Floats
from medseg.synth.fields import jacobian, positions, random_matrix, smooth_field

CLASSES = ("background", "ventricles", "GM", "WM", "sulcal CSF")
"""Classes of the labels, by index."""

Shape = tuple[int, int, int]

SHAPE: Shape = (160, 200, 168)
"""Voxels of 1 mm of a person."""

MARGIN = 12
"""Voxels that are kept around a person's brain."""

LEAST_JACOBIAN = 0.15
"""A deformation keeps at least this share of every voxel's volume, so that it cannot fold."""

_NEVER = 1e-4


@dataclass(frozen=True)
class Strength:
    """Ranges that people are drawn from: sizes beside the atlas's, in mm, degrees and standard deviations.

    ``deformation_mm`` are (distance of control points, largest standard deviation) of displacements;
    ``dilation_mm`` is the widening of ventricles, negative for narrower ones; ``atrophy`` moves the limits of
    the tissues, towards fluid where it is positive.
    """

    scale: tuple[float, float] = (0.78, 1.02)
    anisotropy: float = 0.09
    degrees: float = 22.0
    deformation_mm: tuple[tuple[float, float], ...] = ((60.0, 4.5), (28.0, 2.0), (12.0, 0.9))
    dilation_mm: tuple[float, float] = (-2.0, 7.0)
    atrophy: tuple[float, float] = (-0.3, 0.9)


TRAINING = Strength()
"""Deformations of the training."""

HARDER = Strength(
    scale=(0.74, 1.06),
    anisotropy=0.12,
    degrees=28.0,
    deformation_mm=((60.0, 5.5), (28.0, 2.5), (12.0, 1.1)),
    dilation_mm=(-2.5, 9.0),
    atrophy=(-0.4, 1.2),
)
"""Deformations beyond those of the training, for subjects that are held out."""


@dataclass(frozen=True, eq=False)
class Person:
    """Shares (K - 1, X, Y, Z) float16 of ventricles, GM, WM and sulcal CSF, which sum to 1 in the brain.

    ``labels`` (X, Y, Z) uint8 are indices of :data:`CLASSES`; ``deep`` float16 is the share of grey matter
    with much white matter in it, and ``texture`` float16 the deviation of a T1 from its tissues' means.
    """

    shares: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]
    deep: npt.NDArray[np.float16]
    texture: npt.NDArray[np.float16]


def draw(
    atlas: Atlas, rng: np.random.Generator, strength: Strength = TRAINING, shape: Shape = SHAPE
) -> Person:
    """Draw one person on a grid of at most ``shape`` voxels of 1 mm, RAS+, cut to the brain and a margin."""
    where = _positions(atlas, rng, strength, shape)
    maps = (atlas.csf, atlas.wm, atlas.inside, atlas.ventricle, atlas.deep, atlas.texture)
    csf, wm, inside, ventricle, deep, texture = sample(np.stack(maps), where)
    ventricle = np.clip(ventricle, 0, 1)
    fluid, white = _drawn(csf, wm, rng, strength)
    inside = np.clip(1.5 * inside - np.float32(0.25), 0, 1)
    grey = np.maximum(1 - fluid - white, 0)
    shares = np.stack([fluid * ventricle, grey, white, fluid * (1 - ventricle)]) * inside
    labels = (shares.argmax(axis=0) + 1).astype(np.uint8)
    labels[inside < 0.5] = 0
    (brain,) = ndimage.find_objects((labels > 0).astype(np.uint8))
    near = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in brain)
    halves = [array[(..., *near)].astype(np.float16) for array in (shares, deep, texture)]
    return Person(halves[0], labels[near], halves[1], halves[2])


def sample(maps: Floats, where: Floats) -> Floats:
    """Maps (C, X, Y, Z) at positions (3, X', Y', Z') in voxels, linear between voxels, 0 outside."""
    size = np.array(maps.shape[1:], np.float32)
    grid = np.stack([2 * where[k] / (size[k] - 1) - 1 for k in (2, 1, 0)], axis=-1)
    read = F.grid_sample(torch.from_numpy(maps)[None], torch.from_numpy(grid)[None], align_corners=True)
    return np.asarray(read[0].numpy())


def _positions(atlas: Atlas, rng: np.random.Generator, strength: Strength, shape: Shape) -> Floats:
    """Positions in the atlas (3, X, Y, Z) from which a person's voxels are read."""
    matrix = random_matrix(rng, strength.degrees, strength.anisotropy)
    matrix /= rng.uniform(*strength.scale)
    displacement = np.stack(
        [
            sum(
                smooth_field(shape, 1.0, nodes, sd * rng.uniform(0.2, 1), rng)
                for nodes, sd in strength.deformation_mm
            )
            for _ in range(3)
        ]
    )
    dilation = np.float32(rng.uniform(*strength.dilation_mm))
    shift = (np.array(atlas.shape) - np.array(shape)) / 2
    share = np.float32(1)
    while True:
        where = positions(shape, matrix, share * displacement).astype(np.float32)
        where += shift.astype(np.float32)[:, None, None, None]
        if jacobian(where[:, ::2, ::2, ::2] / 2).min() * 8 > LEAST_JACOBIAN * abs(np.linalg.det(matrix)) * 8:
            break
        share *= np.float32(0.75)
    pull = sample(atlas.outward * atlas.near, where)
    return np.asarray(where - dilation * pull)


def _drawn(csf: Array, wm: Array, rng: np.random.Generator, strength: Strength) -> tuple[Array, Array]:
    """Shares (X, Y, Z) of fluid and white matter in one person, by the probabilities of both."""
    size = rng.uniform(1.0, 2.6)
    z = ndimage.gaussian_filter(rng.standard_normal(csf.shape, dtype=np.float32), size, truncate=3)
    z /= z.std()
    coarse = smooth_field(csf.shape, 1.0, 12.0, 1.0, rng)
    mix = np.float32(rng.uniform(0.1, 0.5))
    z = np.sqrt(1 - mix) * z + np.sqrt(mix) * coarse
    z -= smooth_field(csf.shape, 1.0, 50.0, 0.25, rng) + np.float32(rng.uniform(*strength.atrophy))
    fluid = _soft_step(_quantile(csf) - z, rng.uniform(0.15, 0.3))
    white = _soft_step(z + _quantile(wm), rng.uniform(0.15, 0.3))
    excess = np.maximum(fluid + white, 1)
    return fluid / excess, white / excess


def _quantile(share: Array) -> Floats:
    """The standard normal distribution's quantile of shares, clipped."""
    clipped = torch.from_numpy(np.clip(share, _NEVER, 1 - _NEVER))
    return np.asarray(torch.special.ndtri(clipped).numpy())


def _soft_step(x: Array, width: float) -> Floats:
    """Rise from 0 to 1 within about ±2 ``width`` around 0."""
    return np.asarray(torch.sigmoid(torch.from_numpy(x / np.float32(width))).numpy())
