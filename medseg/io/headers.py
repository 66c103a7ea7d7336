"""Headers of NIfTI and FreeSurfer files: the first bytes → how the voxels are stored and where they lie."""

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
_MGH_GOOD_RAS = 28  # position of the flag "the orientation is valid", big-endian int16
_SPATIAL_UNITS = {1: ("metres", 1000.0), 2: ("mm", 1.0), 3: ("microns", 0.001)}
_SPATIAL_UNIT_BITS = 0b111
_LONGEST_EDGE = 100.0  # mm; a longer edge of a voxel without a unit is one in microns or nanometres
_FINE_STEPS = 2.0**22  # float32 has 24 bits: values up to so many steps from zero keep a quarter of a step
_SMALLEST_STEP = 2.0**-100


@dataclass(frozen=True, eq=False)
class VoxelLayout:
    """A header's account of its voxels: axes, dtype on disk, first byte, scaling, affine (4, 4) to RAS+ mm.

    ``value_dtype`` is the dtype of the values that are read: the one on disk in native byte order, or a
    floating type where ``scaling`` (slope, intercept) applies.
    """

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
        """Number of stored values."""
        return self.channels * int(np.prod(self.shape))

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """The dtype that keeps neighbouring values apart; float64 where float32 would round them together."""
        if self.scaling is None:
            return self.dtype.newbyteorder("=")
        slope, inter = np.abs(self.scaling)
        if self.dtype.kind == "f":
            single = self.dtype.itemsize <= 4 and inter == 0
        else:
            single = self.dtype.itemsize <= 2 and inter + 2**16 * slope <= _FINE_STEPS * slope
        return np.dtype(np.float32 if single and slope > _SMALLEST_STEP else np.float64)


def describe(block: bytes, where: Path, *, channels_last: bool, max_voxels: int) -> VoxelLayout:
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
        dtype = scalar(header.get_data_dtype(), where)
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
    if nifti and int(header["xyzt_units"]) & _SPATIAL_UNIT_BITS not in _SPATIAL_UNITS:
        check_edges(affine, where, "set the unit in the header (xyzt_units: 1 metres, 2 mm, 3 microns)")
    source = header if nifti else None
    return VoxelLayout(shape, channels, dtype, offset, scaling, affine, source, tuple(notes))


def affine_of(header: Any, shape: tuple[int, int, int]) -> Array | None:
    """Give the affine (4, 4) to RAS+ mm that reading a NIfTI ``header`` gives; None for unusable forms."""
    try:
        return _place(header, shape, Path())[0]
    except MedsegError:
        return None


def _not_an_image(where: Path, details: str) -> MedsegError:
    return MedsegError(Code.NOT_AN_IMAGE, where, details, "export the scan as NIfTI again")


def _nifti_class(block: bytes) -> Any:
    """Give nibabel's header class for these first bytes, in either byte order; None if not NIfTI's."""
    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if 540 in sizes and block[4:8] == b"n+2\0":
        return nib.Nifti2Header
    if 348 in sizes and b"n+1\0".startswith(block[344:348]):
        return nib.Nifti1Header
    return None


def _is_mgh(block: bytes, where: Path) -> bool:
    """Recognise MGH by the file's name and its version, 1: it has no magic number."""
    return where.suffix.lower() in {".mgh", ".mgz"} and block[:4] == b"\0\0\0\1"


@contextmanager
def _faults_of_header(where: Path) -> Iterator[None]:
    """Turn what nibabel raises for impossible fields (codes, offsets, intercepts) into NOT_AN_IMAGE."""
    try:
        yield
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise _not_an_image(where, f"header: {error}") from error


def scalar(dtype: np.dtype[Any], where: Path) -> np.dtype[Any]:
    """Give back the dtype of grey values or labels; raises NOT_SCALAR for any other."""
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        kind = "RGB" if dtype.names else dtype.name
        how_to_fix = "convert to one grey value per voxel, of 64 bits at most"
        raise MedsegError(Code.NOT_SCALAR, where, f"voxels are {kind}", how_to_fix)
    return dtype


def _data_at(header: Any, length: int) -> tuple[int, tuple[float, float] | None]:
    """Give the voxels' offset in a single NIfTI file, and (slope, intercept) unless they change nothing."""
    offset = int(header["vox_offset"]) or header.single_vox_offset
    if offset < length:
        raise ValueError(f"voxels at byte {offset}, inside the header")
    slope, inter = header.get_slope_inter()
    scaling = (slope if slope is not None else 1.0, inter if inter is not None else 0.0)
    return offset, None if scaling == (1.0, 0.0) else scaling


def _header_notes(header: Any, axes: int, scaling: tuple[float, float] | None, where: Path) -> list[Finding]:
    notes = affine_checks.units_note(*_unit(header), where)
    for code, wrong in (
        (Code.ZERO_PIXEL_SIZE, [i for i in range(1, axes + 1) if header["pixdim"][i] == 0]),
        (Code.NEGATIVE_PIXEL_SIZE, [i for i in range(1, min(axes, 3) + 1) if header["pixdim"][i] < 0]),
    ):
        if wrong:
            details = ", ".join(f"pixdim[{i}] = {header['pixdim'][i]:g}" for i in wrong)
            notes.append(Finding(code, str(where), details, "nothing to do"))
    if scaling:
        details = f"slope {scaling[0]:.6g}, intercept {scaling[1]:.6g}"
        notes.append(Finding(Code.SCALED, str(where), details, "nothing to do"))
    if header.endianness == ">":
        notes.append(Finding(Code.BIG_ENDIAN, str(where), "big-endian", "nothing to do"))
    return notes


def _unit(header: Any) -> tuple[str, float]:
    """Give the name and the mm of the header's unit of length; an unknown unit counts as mm."""
    return _SPATIAL_UNITS.get(int(header["xyzt_units"]) & _SPATIAL_UNIT_BITS, ("mm", 1.0))


def check_edges(affine: Array, where: Path, how_to_fix: str) -> None:
    """Raise UNITS_UNKNOWN if the voxels of an `affine` (4, 4) without a unit are too long for mm."""
    longest = float(np.linalg.norm(affine[:3, :3], axis=0).max())
    if longest > _LONGEST_EDGE:
        details = f"no unit of length, and voxels with edges up to {longest:g}"
        raise MedsegError(Code.UNITS_UNKNOWN, where, details, how_to_fix)


def _place(header: Any, shape: tuple[int, int, int], where: Path) -> tuple[Array, list[Finding]]:
    """Give the affine in mm by NIfTI's rules (sform before qform before voxel sizes), and notes about it."""
    codes = f"qform code {int(header['qform_code'])}, sform code {int(header['sform_code'])}"
    to_mm = np.array([[_unit(header)[1]]] * 3 + [[1.0]])
    sform = to_mm * header.get_sform() if header["sform_code"] > 0 else None
    qform = _qform(header) if header["qform_code"] > 0 else None
    qform = None if qform is None else to_mm * qform
    if header["qform_code"] > 0 and sform is not None:
        return sform, _compare_forms(sform, qform, shape, where)
    if header["qform_code"] > 0 and qform is None:
        raise MedsegError(
            Code.AFFINE_INVALID, where, "the qform is no rotation", "correct the header's orientation"
        )
    for form in (sform, qform):
        if form is not None:
            return form, [Finding(Code.ONE_FORM, str(where), codes, "nothing to do")]
    affine = to_mm * np.diag([*np.abs(header["pixdim"][1:4]).astype(np.float64), 1.0])
    how_to_fix = "set the orientation in the header if you know it"
    return affine, [Finding(Code.NO_ORIENTATION, str(where), codes, how_to_fix)]


def _qform(header: Any) -> Array | None:
    """Give the qform in the header's unit; None if it is no rotation with sizes.

    A handedness of 0 is read as 1 (NIfTI's rule), a negative pixel size as its absolute value (as nibabel
    does when it loads a file).
    """
    fixed = header.copy()
    if fixed["pixdim"][0] not in (-1, 1):
        fixed["pixdim"][0] = 1
    fixed["pixdim"][1:4] = np.abs(fixed["pixdim"][1:4])
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
        details = f"corners up to {apart:.4g} mm apart: sform {affine_checks.compact(sform)}, qform {other}"
        how_to_fix = "set both to the right one, or the wrong one's code to 0"
        raise MedsegError(Code.SFORM_QFORM_DISAGREE, where, details, how_to_fix)
    if apart <= _SLIGHT_MM:
        return []
    details = f"corners up to {apart:.3g} mm apart"
    return [Finding(Code.FORMS_DIFFER_SLIGHTLY, str(where), details, "nothing to do")]


def _place_mgh(
    header: Any, shape: tuple[int, int, int], block: bytes, where: Path
) -> tuple[Array, list[Finding]]:
    if unpack_from(">h", block, _MGH_GOOD_RAS)[0]:
        return np.asarray(header.get_affine(), np.float64), []
    affine = _MGH_DEFAULT.copy()
    affine[:3, 3] = -affine[:3, :3] @ shape / 2
    details = "goodRASFlag 0: FreeSurfer's default, 1 mm coronal (LIA)"
    how_to_fix = "set the orientation in the header if you know it"
    return affine, [Finding(Code.NO_ORIENTATION, str(where), details, how_to_fix)]
