"""Frames of derived DICOM objects: the grid's affine as DICOM has it, and frames read back onto the grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid

if TYPE_CHECKING:
    from pydicom import Dataset

SAME_PLACE_MM = 0.01
"""Largest distance in space between a voxel of a map and that of the DICOM object that is read back."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def placed(frames: Array, grid: Grid, frame_of_reference: str, channels: dict[str, Any] | None = None) -> Any:
    """Make highdicom's volume of frames (Z, Y, X) or (Z, Y, X, K) of a grid, placed in the patient."""
    import highdicom as hd

    affine = _LPS_TO_RAS @ grid.affine
    return hd.Volume(
        frames,
        affine[:, [2, 1, 0, 3]],  # highdicom's volumes run (slices, rows, columns)
        coordinate_system="PATIENT",
        frame_of_reference_uid=frame_of_reference,
        channels=channels,
    )


def on_grid(
    frame: Array, own: Dataset, shared: Dataset, grid: Grid, path: Path, tolerance_mm: float = SAME_PLACE_MM
) -> tuple[int, Array]:
    """Put a frame (rows, columns) onto ``grid``: its slice, and that slice's voxels (X, Y), 0 outside.

    Raises GRID_MISMATCH for a frame that does not lie on a slice of the grid within the tolerance.
    """
    z, columns, rows = _place(own, shared, frame.shape, grid, path, tolerance_mm)
    cut = np.zeros(grid.shape[:2], frame.dtype)
    cut[np.ix_(columns, rows)] = frame.T
    return z, cut


def _place(
    own: Dataset, shared: Dataset, shape: tuple[int, ...], grid: Grid, path: Path, tolerance_mm: float
) -> tuple[int, Array, Array]:
    """The slice of the grid on which a frame lies, and the grid's index of each of its columns and rows."""

    def group(name: str) -> Any:
        return (own.get(name) or shared.get(name))[0]

    position = np.array(group("PlanePositionSequence").ImagePositionPatient, float)
    cosines = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = np.array(group("PixelMeasuresSequence").PixelSpacing, float)
    to_ras = _LPS_TO_RAS[:3, :3]
    first = to_ras @ position
    along_columns = to_ras @ cosines[:3] * spacing[1]
    along_rows = to_ras @ cosines[3:] * spacing[0]
    inverse = np.linalg.inv(grid.affine)
    corners = np.stack(
        [
            first,
            first + along_columns * (shape[1] - 1),
            first + along_rows * (shape[0] - 1),
        ]
    )
    indices = corners @ inverse[:3, :3].T + inverse[:3, 3]
    whole = np.rint(indices)
    off = np.abs((indices - whole) @ grid.affine[:3, :3].T).max()
    flat = (
        whole[0, 2] == whole[1, 2] == whole[2, 2]
        and whole[0, 1] == whole[1, 1]
        and whole[0, 0] == whole[2, 0]
    )
    inside = bool((whole >= 0).all()) and bool((whole < np.array(grid.shape)).all())
    if off > tolerance_mm or not flat or not inside:
        details = f"a frame lies {off:.3g} mm off the slices, or outside of them"
        raise MedsegError(Code.GRID_MISMATCH, path, details, "give the object of this series")
    columns = np.linspace(whole[0, 0], whole[1, 0], shape[1]).astype(int)
    rows = np.linspace(whole[0, 1], whole[2, 1], shape[0]).astype(int)
    return int(whole[0, 2]), columns, rows
