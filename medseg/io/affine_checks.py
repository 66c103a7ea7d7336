"""Checks that all readers share: a file opens, its shape is that of a scan, its affine is usable."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array
from medseg.limits import MAX_STORED, MAX_SURPLUS_BYTES
from medseg.limits import MAX_VOXELS as MAX_VOXELS

MAX_SHEAR_DEGREES = 1.0
MIN_OBLIQUE_DEGREES = 0.06  # about 1e-3 rad: below it, float32 rounding of a header's cosines

RAS = ("R", "A", "S")


def refusal_to_open(path: Path, error: OSError) -> MedsegError:
    """Make the coded refusal of a ``path`` that cannot be opened: FILE_MISSING or FILE_UNREADABLE."""
    if isinstance(error, IsADirectoryError):
        how_to_fix = "rename the folder, or move it elsewhere"
        return MedsegError(Code.FILE_UNREADABLE, path, "a folder, not a file", how_to_fix)
    if isinstance(error, FileNotFoundError) and not path.is_symlink():
        return MedsegError(Code.FILE_MISSING, path, "no such file", "correct the path or the list")
    reason = "broken link" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return MedsegError(Code.FILE_UNREADABLE, path, reason, "check the file's permissions and its disk")


def truncated(where: Path, details: str) -> MedsegError:
    """The refusal of a file that ends early or whose compression is damaged."""
    return MedsegError(Code.TRUNCATED, where, details, "copy or export the file again")


def check_surplus(size: int, voxels: int, where: Path) -> None:
    """Raise TOO_LARGE if a file of ``size`` bytes is far larger than its ``voxels`` (bytes) can be.

    Reading such a file to its end would take hours: a sparse file of terabytes takes no room on a disk.
    """
    if size > MAX_STORED * voxels + MAX_SURPLUS_BYTES:
        details = f"{size} bytes for voxels of {voxels} bytes"
        raise MedsegError(Code.TOO_LARGE, where, details, "copy or export the file again")


def spatial_shape(
    shape: tuple[int, ...], where: Path, *, channels_last: bool, max_voxels: int
) -> tuple[tuple[int, int, int], int]:
    """Give the (X, Y, Z) and the channel count of an array on disk with axes ``shape``.

    Absent axes become 1, trailing axes of length one are dropped. A real fourth axis is FOUR_D unless
    ``channels_last``; a real fifth holds vectors and is NOT_SCALAR. A slice (one axis of length 1) is legal,
    a line is not: at least two axes have two voxels or more, otherwise TOO_SMALL.
    """
    if not shape or min(shape) < 1:
        raise MedsegError(Code.NOT_AN_IMAGE, where, f"shape {_times(shape)}", "export the scan again")
    axes = list(shape)
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    if len(axes) > 4:
        raise MedsegError(
            Code.NOT_SCALAR, where, f"shape {_times(shape)} holds vectors", "give one value per voxel"
        )
    if len(axes) == 4 and not channels_last:
        raise MedsegError(
            Code.FOUR_D, where, f"shape {_times(shape)}", "extract one volume of the series, or average them"
        )
    x, y, z, channels = (*axes, 1, 1, 1)[:4]
    if sorted((x, y, z))[1] < 2:
        raise MedsegError(Code.TOO_SMALL, where, f"shape {_times(shape)}", "give a slice or a volume")
    if x * y * z * channels > max_voxels:
        details = f"{_times(shape)} voxels, the limit is {max_voxels}"
        how_to_fix = "crop the scan, or resample it to larger voxels, before giving it to medseg"
        raise MedsegError(Code.TOO_LARGE, where, details, how_to_fix)
    return (x, y, z), channels


def singleton_notes(shape: tuple[int, ...], where: Path) -> list[Finding]:
    """Give the note SINGLETON_AXIS if ``shape`` on disk ends in axes of length one beyond the third."""
    if len(shape) > 3 and shape[-1] == 1:
        return [Finding(Code.SINGLETON_AXIS, str(where), f"shape {_times(shape)}", "nothing to do")]
    return []


def check_affine(affine: Array, where: Path) -> list[Finding]:
    """Give the notes OBLIQUE and FLIPPED about ``affine`` (4, 4), voxel → RAS+ mm.

    Raises AFFINE_INVALID if an axis has no length, SHEARED if two axes are more than 1° off square.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        raise MedsegError(Code.AFFINE_INVALID, where, compact(affine), "correct the header's orientation")
    cosines = affine[:3, :3] / lengths
    shear = _shear_degrees(cosines)
    if shear > MAX_SHEAR_DEGREES:
        details = f"axes {shear:.2f}° off square"
        raise MedsegError(Code.SHEARED, where, details, "resample the scan onto square axes")
    notes = []
    turn = float(np.degrees(np.arccos(np.clip(np.abs(cosines).max(axis=0), 0, 1))).max())
    if turn > MIN_OBLIQUE_DEGREES:
        notes.append(Finding(Code.OBLIQUE, str(where), f"rotated by {turn:.1f}°", "nothing to do"))
    import nibabel as nib  # here, since what only writes files does without it

    codes = nib.orientations.aff2axcodes(affine)
    if None in codes:  # two axes along one of the body's, of lengths that hide it from the angles
        raise MedsegError(Code.AFFINE_INVALID, where, compact(affine), "correct the header's orientation")
    if codes != RAS:
        notes.append(Finding(Code.FLIPPED, str(where), f"axes {''.join(codes)}", "nothing to do"))
    return notes


def units_note(unit: str, factor: float, where: Path) -> list[Finding]:
    """Give the note UNITS_CONVERTED if lengths in ``unit`` were multiplied by a ``factor`` other than 1."""
    if factor == 1:
        return []
    details = f"lengths in {unit}, 1 {unit} = {factor:g} mm"
    return [Finding(Code.UNITS_CONVERTED, str(where), details, "nothing to do if the voxel size is right")]


def compact(affine: Array) -> str:
    """Write the upper three rows of an affine on one line."""
    rows = (" ".join(f"{value:.4g}" for value in row) for row in affine[:3])
    return f"[{'; '.join(rows)}]"


def _shear_degrees(cosines: Array) -> float:
    """Give the largest deviation from 90° between two columns of unit length, (3, 3), in degrees."""
    pairs = cosines.T @ cosines
    off = np.abs(pairs[np.triu_indices(3, 1)])
    return float(np.degrees(np.arcsin(np.clip(off, 0, 1))).max())


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
