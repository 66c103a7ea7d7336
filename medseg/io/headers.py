"""The first bytes of a NIfTI or FreeSurfer file → what they say about its voxels and their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spatialimages import HeaderDataError

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import SAME_GRID_MM, Array, Grid, corner_distance
from medseg.io import affine_checks

LONGEST = 540
"""Bytes of the longest header, NIfTI-2's."""

_SLIGHT_MM = 1e-3
_MGH_DATA_OFFSET = 284
# nibabel's own default for files without orientation is the transpose of FreeSurfer's.
_MGH_DEFAULT = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
_MGH_GOOD_RAS = 28  # where the flag "the orientation is valid" stands, big-endian int16


@dataclass(frozen=True, eq=False)
class Description:
    """What a header says: axes, dtype on disk, first byte of the voxels, scaling, affine (4, 4) to RAS+."""

    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] | None
    affine: Array
    source: Any
    notes: tuple[Finding, ...]

    @property
    def voxels(self) -> int:
        """How many values are stored."""
        return self.channels * int(np.prod(self.shape))


def describe(block: bytes, where: Path, *, channels_last: bool, max_voxels: int) -> Description:
    """Recognise the first :data:`LONGEST` bytes of the file ``where`` and check what they say.

    Raises NOT_AN_IMAGE, TRUNCATED, NOT_SCALAR, FOUR_D, TOO_SMALL, TOO_LARGE, SFORM_QFORM_DISAGREE,
    AFFINE_INVALID, SHEARED, in this order.
    """
    if not block:
        raise affine_checks.truncated(where, "the file is empty")
    nifti = _nifti_class(block)
    if nifti is None and not _is_mgh(block, where):
        raise _not_an_image(where, f"begins with {block[:8]!r}")
    length = nifti.template_dtype.itemsize if nifti else _MGH_DATA_OFFSET
    if len(block) < length:
        raise affine_checks.truncated(where, f"the header ends after {len(block)} bytes")
    header = nifti(block[:length], check=False) if nifti else MGHHeader(block[:length], check=False)
    with _faults_of_header(where):
        on_disk = tuple(int(n) for n in header.get_data_shape())
        dtype = _scalar(header.get_data_dtype(), where)
        offset, scaling = _data_at(header, length) if nifti else (_MGH_DATA_OFFSET, None)
    shape, channels = affine_checks.spatial_shape(
        on_disk, where, channels_last=channels_last, max_voxels=max_voxels
    )
    notes = affine_checks.singleton_notes(on_disk, where)
    if nifti:
        affine, place_notes = _place(header, shape, where)
        notes += place_notes + _header_notes(header, len(on_disk), scaling, where)
    else:
        affine, place_notes = _place_mgh(header, shape, block, where)
        notes += place_notes
    notes += affine_checks.check_affine(affine, where)
    return Description(
        shape, channels, dtype, offset, scaling, affine, header if nifti else None, tuple(notes)
    )


def affine_of(header: Any, shape: tuple[int, int, int]) -> Array | None:
    """The affine that reading a NIfTI ``header`` gives, or None if its forms are unusable."""
    try:
        return _place(header, shape, Path())[0]
    except MedsegError:
        return None


def _not_an_image(where: Path, details: str) -> MedsegError:
    return MedsegError(Code.NOT_AN_IMAGE, where, details, "export the scan as NIfTI again")


def _nifti_class(block: bytes) -> Any:
    """nibabel's header class for these first bytes, in either byte order; None if they are not NIfTI's."""
    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if 540 in sizes and block[4:8] == b"n+2\0":
        return nib.Nifti2Header
    if 348 in sizes and b"n+1\0".startswith(block[344:348]):
        return nib.Nifti1Header
    return None


def _is_mgh(block: bytes, where: Path) -> bool:
    """MGH has no magic number: the name and the version, 1, must do."""
    return where.suffix.lower() in {".mgh", ".mgz"} and block[:4] == b"\0\0\0\1"


@contextmanager
def _faults_of_header(where: Path) -> Iterator[None]:
    """Turn what nibabel raises for impossible fields (codes, offsets, intercepts) into NOT_AN_IMAGE."""
    try:
        yield
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise _not_an_image(where, f"header: {error}") from error


def _scalar(dtype: np.dtype[Any], where: Path) -> np.dtype[Any]:
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        kind = "RGB" if dtype.names else dtype.name
        raise MedsegError(Code.NOT_SCALAR, where, f"voxels are {kind}", "convert to one grey value a voxel")
    return dtype


def _data_at(header: Any, length: int) -> tuple[int, tuple[float, float] | None]:
    """Offset of the voxels in a single NIfTI file, and (slope, intercept) unless they change nothing."""
    offset = int(header["vox_offset"]) or header.single_vox_offset
    if offset < length:
        raise ValueError(f"voxels at byte {offset}, inside the header")
    slope, inter = header.get_slope_inter()
    scaling = (slope if slope is not None else 1.0, inter if inter is not None else 0.0)
    return offset, None if scaling == (1.0, 0.0) else scaling


def _header_notes(header: Any, axes: int, scaling: tuple[float, float] | None, where: Path) -> list[Finding]:
    notes = []
    zero = [i for i in range(1, axes + 1) if header["pixdim"][i] == 0]
    if zero:
        found = ", ".join(f"pixdim[{i}] = 0" for i in zero)
        notes.append(Finding(Code.ZERO_PIXEL_SIZE, str(where), found, "nothing to do"))
    if scaling:
        found = f"slope {scaling[0]:.6g}, intercept {scaling[1]:.6g}"
        notes.append(Finding(Code.SCALED, str(where), found, "nothing to do"))
    if header.endianness == ">":
        notes.append(Finding(Code.BIG_ENDIAN, str(where), "big-endian", "nothing to do"))
    return notes


def _place(header: Any, shape: tuple[int, int, int], where: Path) -> tuple[Array, list[Finding]]:
    """The affine by NIfTI's rules: sform before qform before voxel sizes alone, and the notes about it."""
    codes = f"qform code {int(header['qform_code'])}, sform code {int(header['sform_code'])}"
    sform = header.get_sform() if header["sform_code"] > 0 else None
    qform = _qform(header) if header["qform_code"] > 0 else None
    if header["qform_code"] > 0 and sform is not None:
        return sform, _compare_forms(sform, qform, shape, where)
    if header["qform_code"] > 0 and qform is None:
        raise MedsegError(
            Code.AFFINE_INVALID, where, "the qform is no rotation", "correct the header's orientation"
        )
    for form in (sform, qform):
        if form is not None:
            return form, [Finding(Code.ONE_FORM, str(where), codes, "nothing to do")]
    affine = np.diag([*np.abs(header["pixdim"][1:4]).astype(np.float64), 1.0])
    how_to_fix = "set the orientation in the header if you know it"
    return affine, [Finding(Code.NO_ORIENTATION, str(where), codes, how_to_fix)]


def _qform(header: Any) -> Array | None:
    """The qform, with a handedness of 0 read as 1 (NIfTI's rule); None if it is no rotation with sizes."""
    fixed = header.copy()
    if fixed["pixdim"][0] not in (-1, 1):
        fixed["pixdim"][0] = 1
    try:
        return np.asarray(fixed.get_qform())
    except (HeaderDataError, ValueError):
        return None


def _compare_forms(
    sform: Array, qform: Array | None, shape: tuple[int, int, int], where: Path
) -> list[Finding]:
    """Compare both coded forms at the eight corners: a note, or SFORM_QFORM_DISAGREE."""
    apart = np.inf
    if qform is not None:
        with np.errstate(invalid="ignore"):
            apart = corner_distance(Grid(shape, sform), Grid(shape, qform))
    if not apart <= SAME_GRID_MM:  # also when it is not a number
        other = "that is no rotation" if qform is None else affine_checks.compact(qform)
        found = f"corners up to {apart:.4g} mm apart: sform {affine_checks.compact(sform)}, qform {other}"
        raise MedsegError(
            Code.SFORM_QFORM_DISAGREE, where, found, "set both to the right one, or the wrong one's code to 0"
        )
    if apart <= _SLIGHT_MM:
        return []
    found = f"corners up to {apart:.3g} mm apart"
    return [Finding(Code.FORMS_DIFFER_SLIGHTLY, str(where), found, "nothing to do")]


def _place_mgh(
    header: Any, shape: tuple[int, int, int], block: bytes, where: Path
) -> tuple[Array, list[Finding]]:
    if unpack_from(">h", block, _MGH_GOOD_RAS)[0]:
        return np.asarray(header.get_affine(), np.float64), []
    affine = _MGH_DEFAULT.copy()
    affine[:3, 3] = -affine[:3, :3] @ shape / 2
    found = "goodRASFlag 0: FreeSurfer's default, 1 mm coronal (LIA)"
    how_to_fix = "set the orientation in the header if you know it"
    return affine, [Finding(Code.NO_ORIENTATION, str(where), found, how_to_fix)]
