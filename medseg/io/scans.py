"""The table of formats: how a scan or image is read, and remedies for formats that are not read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Protocol, cast

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.io import affine_checks, images, itk, memory, nifti
from medseg.io.dicom import decode, references
from medseg.io.dicom.series import SeriesVolume
from medseg.io.memory import MemoryImage
from medseg.volume import Volume


class Reader(Protocol):
    """A module that reads one family of formats."""

    SUFFIXES: tuple[str, ...]

    def can_read(self, path: Path) -> bool:
        """Tell by the file's name whether it belongs to this family."""

    def read(
        self, path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS
    ) -> Volume:
        """Read the file as (C, X, Y, Z); refuse it with a coded error."""


_OF_SCANS: tuple[Reader, ...] = (cast("Reader", nifti), cast("Reader", itk))
READERS: tuple[Reader, ...] = (*_OF_SCANS, cast("Reader", images), cast("Reader", references))

SUFFIXES = tuple(suffix for reader in _OF_SCANS for suffix in reader.SUFFIXES)
"""All suffixes a scan may have, longer ones before those they end in."""

Unit = Literal["mm", "px"]
"""Unit of a file's grid: mm for scans, px for images."""

Source = Path | SeriesVolume
"""A scan is read from a file, or from a volume of a DICOM series."""

Readable = Source | MemoryImage
"""A scan, or an image that is in memory already."""

SUFFIXES_OF: dict[Unit, tuple[str, ...]] = {"mm": SUFFIXES, "px": images.SUFFIXES}

_AS_PNG = "save it as PNG, for example with ImageMagick: magick {name} {stem}.png"
_FIRST_FRAME = "save the frame to segment as PNG, for example with ImageMagick: magick '{name}[0]' {stem}.png"
_AS_NIFTI = "convert it to NIfTI, for example with FreeSurfer: mri_convert {name} {stem}.nii.gz"
_UNPACK = "unpack it and name the folder again"
_FROM_DICOM = (
    "write data.layout: dicom in the recipe, or convert the DICOM series to NIfTI,"
    " for example: medseg convert FOLDER nifti"
)
_FROM_ANALYZE = (
    "convert the .hdr/.img pair to NIfTI and check left and right, which Analyze does not store,"
    " for example with FSL: fslchfiletype NIFTI_GZ {stem}"
)
_FROM_ARRAY = "save the array as NIfTI with its affine, for example with nibabel.save"
_FROM_MICROSCOPE = "export each image as TIFF or PNG from the microscope's program"

UNREAD_FORMATS: dict[str, str] = {
    **dict.fromkeys((".webp", ".heic", ".heif", ".hif", ".avif", ".avifs", ".jxl", ".jxr"), _AS_PNG),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm"), _AS_PNG),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".tga", ".pcx", ".qoi"), _AS_PNG),
    **dict.fromkeys((".psd", ".xcf", ".exr", ".dib", ".ico", ".sgi", ".dng", ".cr2", ".nef"), _AS_PNG),
    **dict.fromkeys((".apng", ".mng", ".mpo"), _FIRST_FRAME),
    **dict.fromkeys((".hdr", ".img", ".hdr.gz", ".img.gz"), _FROM_ANALYZE),
    **dict.fromkeys((".par", ".rec", ".mnc", ".mnc.gz", ".brik", ".brik.gz", ".head", ".mgh.gz"), _AS_NIFTI),
    **dict.fromkeys((".vtk", ".vti", ".gipl", ".gipl.gz", ".nia", ".fdf", ".bfloat", ".bshort"), _AS_NIFTI),
    **dict.fromkeys((".dcm", ".dicom", ".dic", ".ima", ".dcm.gz"), _FROM_DICOM),
    **dict.fromkeys((".npy", ".npz"), _FROM_ARRAY),
    **dict.fromkeys(
        (".svs", ".ndpi", ".czi", ".nd2", ".lif", ".oib", ".oif", ".vsi", ".mrxs"), _FROM_MICROSCOPE
    ),
    **dict.fromkeys((".nii.zip", ".nii.bz2", ".nii.xz", ".nii.zst", ".mha.gz", ".nrrd.gz"), _UNPACK),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), _UNPACK),
}
"""Suffixes of image formats that are known but not read → how to fix; see :func:`unread_format`."""

_UNREAD_LONGEST_FIRST = sorted(UNREAD_FORMATS, key=len, reverse=True)
_WORD_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9_]*$")
_DICOM_MAGIC_AT = 128


def read(
    path: Readable, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS
) -> Volume:
    """Read a scan, image or label map of any known format as (C, X, Y, Z) on its grid, with notes.

    ``channels_last`` takes a fourth axis, or colours, as channels. Raises FORMAT_NOT_READ for a known image
    format without a reader, NOT_AN_IMAGE for an unknown suffix, and what the reader raises.
    """
    if isinstance(path, SeriesVolume):
        return decode.read_volume(path, max_voxels=max_voxels)
    if isinstance(path, MemoryImage):
        return memory.read(path, channels_last=channels_last, max_voxels=max_voxels)
    for reader in READERS:
        if reader.can_read(path):
            return reader.read(path, channels_last=channels_last, max_voxels=max_voxels)
    details = f"suffix {path.suffix or 'absent'}"
    if how_to_fix := unread_format(path):
        raise MedsegError(Code.FORMAT_NOT_READ, path, details, how_to_fix)
    known = " ".join((*SUFFIXES, *images.SUFFIXES))
    raise MedsegError(Code.NOT_AN_IMAGE, path, details, f"convert it to one of {known}")


def detect_kind(path: Path) -> Unit | None:
    """Tell by the file's name whether it is a scan (mm) or an image (px); None for all other files.

    Hidden files, which half-written ones are too, are neither.
    """
    if path.name.startswith("."):
        return None
    name = path.name.lower()
    return next((unit for unit, suffixes in SUFFIXES_OF.items() if name.endswith(suffixes)), None)


def unread_format(path: Path) -> str | None:
    """Give the remedy for a file of a known image format that is not read; None for any other file.

    The name decides, regardless of case. A file without a suffix, or whose suffix is no word (as in
    ``1.2.840.10008.5``), is DICOM if it says so after its first 128 bytes. Hidden files are never named.
    """
    if path.name.startswith(".") or detect_kind(path):
        return None
    name = path.name.lower()
    for suffix in _UNREAD_LONGEST_FIRST:
        if name.endswith(suffix) and len(name) > len(suffix):
            return UNREAD_FORMATS[suffix].format(name=path.name, stem=path.name[: -len(suffix)])
    if name == "dicomdir" or (not _WORD_SUFFIX.search(name) and _has_dicom_magic(path)):
        return _FROM_DICOM
    return None


def unread_kind(path: Path) -> Unit | None:
    """Tell whether a file of a format that is not read holds a scan (mm) or an image (px).

    None for archives, which may hold either, and for all other files.
    """
    name = path.name.lower()
    suffix = next((suffix for suffix in _UNREAD_LONGEST_FIRST if name.endswith(suffix)), "")
    how_to_fix = UNREAD_FORMATS.get(suffix)
    if how_to_fix in (_AS_PNG, _FIRST_FRAME, _FROM_MICROSCOPE):
        return "px"
    is_archive = how_to_fix == _UNPACK and not suffix.startswith((".nii", ".mha", ".nrrd"))
    return None if is_archive or unread_format(path) is None else "mm"


def stem(path: Path) -> str:
    """The file's name without the suffix of a scan or image: ``a.b.nii.gz`` → ``a.b``."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def _has_dicom_magic(path: Path) -> bool:
    try:
        with files.open_regular(path) as file:
            file.seek(_DICOM_MAGIC_AT)
            return file.read(4) == b"DICM"
    except OSError:
        return False
