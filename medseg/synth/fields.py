"""Smooth random fields: free-form deformations and bias fields from a coarse grid of control points.

A field is a sum of cubic B-splines at control points (Rueckert et al., IEEE TMI 18(8), 1999, eq. 1-2).
"""

from __future__ import annotations

import numpy as np

from medseg.grid import Array

LEAST_JACOBIAN = 0.2
"""A deformation keeps at least this share of every voxel's volume, so that it cannot fold."""

# A cubic B-spline field of independent control points with sd 1 has sd 0.69 along one axis, on average.
_SD_PER_AXIS = 0.69


def smooth_field(
    shape: tuple[int, int, int], spacing_mm: float, nodes_mm: float, sd: float, rng: np.random.Generator
) -> Array:
    """A field (X, Y, Z) float32 of standard deviation ``sd``, smooth over about ``nodes_mm``."""
    weights = [spline_weights(n, nodes_mm / spacing_mm) for n in shape]
    points = rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
    field = points * np.float32(sd / _SD_PER_AXIS**3)
    for w in weights:  # each pass consumes the first axis and appends the fine one: (x, y, z) comes back
        field = np.tensordot(field, w, axes=(0, 1))
    return np.asarray(field)


def spline_weights(size: int, step: float) -> Array:
    """Cubic B-spline weights (size, points) float32, control points every ``step`` voxels; rows sum to 1."""
    at = np.arange(size) / step
    nearest = np.floor(at).astype(int)
    t = at - nearest
    basis = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3],
        axis=1,
    )
    weights = np.zeros((size, int(nearest[-1]) + 4), dtype=np.float32)
    np.put_along_axis(weights, nearest[:, None] + np.arange(4), (basis / 6).astype(np.float32), axis=1)
    return weights


def random_matrix(rng: np.random.Generator, degrees: float, log_scale: float) -> Array:
    """Rotations about x, y, z within ±``degrees`` after scalings within e^±``log_scale``: (3, 3) float64."""
    matrix = np.diag(np.exp(rng.uniform(-log_scale, log_scale, 3)))
    for axis, angle in enumerate(np.deg2rad(rng.uniform(-degrees, degrees, 3))):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def positions(shape: tuple[int, int, int], matrix: Array, displacement: Array) -> Array:
    """Positions from which voxels are read: ``matrix`` about the centre, then ``displacement``, in voxels.

    ``displacement`` and the result are (3, X, Y, Z) float32.
    """
    centre = (np.array(shape) - 1) / 2
    axes = [np.arange(n, dtype=np.float32) - np.float32(c) for n, c in zip(shape, centre, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    m = matrix.astype(np.float32)
    turned = np.stack([m[i, 0] * x + m[i, 1] * y + m[i, 2] * z + np.float32(centre[i]) for i in range(3)])
    return np.asarray(turned + displacement)


def jacobian(where: Array) -> Array:
    """Volume ratio at each voxel of a position field (3, X, Y, Z), by central differences: (X, Y, Z)."""
    d = [np.gradient(component) for component in where]
    return np.asarray(
        d[0][0] * (d[1][1] * d[2][2] - d[1][2] * d[2][1])
        - d[0][1] * (d[1][0] * d[2][2] - d[1][2] * d[2][0])
        + d[0][2] * (d[1][0] * d[2][1] - d[1][1] * d[2][0])
    )


def unfolded(shape: tuple[int, int, int], matrix: Array, displacement: Array) -> Array:
    """The :func:`positions` with ``displacement`` shrunk until no Jacobian is below LEAST_JACOBIAN."""
    share = 1.0
    where = positions(shape, matrix, displacement)
    while jacobian(where).min() < LEAST_JACOBIAN:
        share *= 0.8
        where = positions(shape, matrix, np.float32(share) * displacement)
    return where
