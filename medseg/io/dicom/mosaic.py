"""Siemens mosaics: the slices of a volume as tiles of one image, placed by the private CSA header."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from medseg.errors import Code
from medseg.grid import Array, Grid
from medseg.io.dicom.frames import FileHeader
from medseg.io.dicom.geometry import Refusal
from medseg.limits import MAX_MM, MIN_MM

_CSA_GROUP, _CSA_CREATOR, _CSA_IMAGE = 0x0029, "SIEMENS CSA HEADER", 0x10
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def unpack_geometry(header: FileHeader) -> Grid | Refusal:
    """The grid (columns, rows, slices) of a mosaic's volume by its CSA header, or MOSAIC.

    The position of a mosaic is that of its whole image's corner: the first slice's corner lies half of what
    the image is larger than a tile inwards. Slices follow the CSA slice normal, which may be opposite to the
    cross product of the direction cosines.
    """
    frame = header.frames[0]
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        return _refusal("no position or orientation in space")
    csa = read_csa(header)
    if csa is None:
        return _refusal("no CSA header that tells its slices")
    count, normal, gap = csa
    tiles = math.ceil(math.sqrt(count))
    rows, columns = frame.shape
    if rows % tiles or columns % tiles:
        return _refusal(f"{rows}×{columns} pixels are no {tiles}×{tiles} tiles")
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    cross = np.cross(row, column)
    if abs(abs(float(normal @ cross)) - 1) > 1e-3:
        return _refusal("the CSA slice normal is not perpendicular to the slices")
    tile_rows, tile_columns = rows // tiles, columns // tiles
    inwards = row * frame.spacing[1] * (columns - tile_columns) / 2
    inwards = inwards + column * frame.spacing[0] * (rows - tile_rows) / 2
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * frame.spacing[1], column * frame.spacing[0]
    affine[:3, 2] = normal * gap
    affine[:3, 3] = np.array(frame.position) + inwards
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    return Grid((tile_columns, tile_rows, count), affine)


def unpack_pixels(image: Array, grid: Grid) -> Array:
    """Cut a mosaic (rows, columns) into its slices: (X, Y, Z) as ``grid`` says."""
    columns, rows, count = grid.shape
    tiles = image.shape[1] // columns
    slices = [
        image[
            (n // tiles) * rows : (n // tiles + 1) * rows, (n % tiles) * columns : (n % tiles + 1) * columns
        ]
        for n in range(count)
    ]
    return np.stack([part.T for part in slices], axis=2)


def read_csa(header: FileHeader) -> tuple[int, Array, float] | None:
    """Number of slices, slice normal (3,) in LPS and gap (mm) of a mosaic; None where they are not stated."""
    import pydicom

    with header.file.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom import csareader  # warns of itself

        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        try:
            block = dataset.private_block(_CSA_GROUP, _CSA_CREATOR)  # wherever an archive has moved it
            csa: Any = csareader.read(block[_CSA_IMAGE].value)
            count = csareader.get_n_mosaic(csa) if csa else None
            normal = csareader.get_slice_normal(csa) if csa else None
            gap = float(dataset.get("SpacingBetweenSlices") or 0)  # thickness tells no gap
        except Exception:  # a private header holds what its maker likes
            return None
    if not count or normal is None or not MIN_MM <= gap <= MAX_MM:
        return None
    return int(count), np.asarray(normal, float), gap


def _refusal(details: str) -> Refusal:
    return Refusal(Code.MOSAIC, f"a mosaic of slices: {details}", "export the series as single slices")
