"""NIfTI-1 headers of volumes that come from no NIfTI file, as bytes (https://nifti.nimh.nih.gov/nifti-1)."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from medseg.grid import SAME_GRID_MM, Array, Grid, corner_distance

_LENGTH, _VOXELS_AT = 348, 352
_LONGEST_AXIS = 2**15 - 1
_DATATYPES = {
    "uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "int8": 256, "uint16": 512,
    "uint32": 768, "int64": 1024, "uint64": 1280,
}  # fmt: skip
_MM = 2
_SCANNER = 1
_SQUARE = 1e-6
"""Most that the products of an affine's unit vectors may differ from those of a rotation's."""


def plain(grid: Grid, dtype: np.dtype[Any]) -> bytes | None:
    """The header of a volume of ``dtype`` (little-endian) on a grid, up to the first voxel (352 bytes).

    Sform and qform code the affine as scanner coordinates in mm. None for what a qform cannot code, axes that
    are not square to one another or turned so nearly half round that rounding moves a corner, and for
    axes or types that NIfTI-1 does not have.
    """
    directions = grid.affine[:3, :3] / grid.spacing
    is_square = np.allclose(directions.T @ directions, np.eye(3), rtol=0, atol=_SQUARE)
    if not is_square or max(grid.shape) > _LONGEST_AXIS or dtype.name not in _DATATYPES:
        return None
    sense = 1.0 if np.linalg.det(directions) > 0 else -1.0
    directions[:, 2] *= sense
    quaternion = _quaternion(directions).astype(np.float32)
    coded = np.eye(4)
    coded[:3, :3] = _rotation(quaternion.astype(np.float64)) * grid.spacing * [1, 1, sense]
    coded[:3, 3] = grid.affine[:3, 3]
    if corner_distance(grid, Grid(grid.shape, coded)) > SAME_GRID_MM / 2:
        return None
    header = bytearray(_VOXELS_AT)
    struct.pack_into("<i", header, 0, _LENGTH)
    struct.pack_into("<8h", header, 40, 3, *grid.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _DATATYPES[dtype.name], 8 * dtype.itemsize)
    struct.pack_into("<8f", header, 76, sense, *grid.spacing, 1, 1, 1, 1)
    struct.pack_into("<2f", header, 108, _VOXELS_AT, 1)  # the slope is 1
    header[123] = _MM
    struct.pack_into("<2h", header, 252, _SCANNER, _SCANNER)
    struct.pack_into("<3f", header, 256, *quaternion)
    struct.pack_into("<3f", header, 268, *grid.affine[:3, 3])
    struct.pack_into("<12f", header, 280, *grid.affine[:3].ravel())
    header[344:_LENGTH] = b"n+1\0"
    return bytes(header)


def _quaternion(rotation: Array) -> Array:
    """The vector part (3,) of a rotation's unit quaternion whose scalar part is not negative.

    The quaternion's products with itself are sums of the matrix's elements; the row of the largest of them
    is divided by its root, so that none is lost in rounding.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation
    products = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    largest = int(products.diagonal().argmax())
    quaternion = products[largest] / np.linalg.norm(products[largest])
    return np.asarray(quaternion[1:] if quaternion[0] >= 0 else -quaternion[1:])


def _rotation(vector: Array) -> Array:
    """The matrix (3, 3) of a unit quaternion, as readers compute it from its vector part (3,)."""
    x, y, z = vector
    scalar = math.sqrt(max(0.0, 1 - float(vector @ vector)))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + 2 * scalar * cross + 2 * cross @ cross)
