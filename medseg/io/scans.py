"""The table of readers: one function that reads a scan, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, cast

from medseg.errors import Code, MedsegError
from medseg.io import affine_checks, images, itk, nifti
from medseg.volume import Volume


class Reader(Protocol):
    """A module that reads one family of formats."""

    SUFFIXES: tuple[str, ...]

    def can_read(self, path: Path) -> bool:
        """Whether the file's name is one of this family's."""

    def read(
        self, path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS
    ) -> Volume:
        """Read the file as (C, X, Y, Z); refuse it with a coded error."""


_OF_SCANS: tuple[Reader, ...] = (cast("Reader", nifti), cast("Reader", itk))
READERS: tuple[Reader, ...] = (*_OF_SCANS, cast("Reader", images))

SUFFIXES = tuple(suffix for reader in _OF_SCANS for suffix in reader.SUFFIXES)
"""All suffixes a scan may have, longer ones before those they end in."""

Unit = Literal["mm", "px"]
"""What a file's grid is measured in: scans in mm, pictures in px."""

SUFFIXES_OF: dict[Unit, tuple[str, ...]] = {"mm": SUFFIXES, "px": images.SUFFIXES}


def read(path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a scan, picture or label map of any known format as (C, X, Y, Z) on its grid, with notes.

    ``channels_last`` takes a fourth axis, or colours, as channels. Raises NOT_AN_IMAGE where no reader knows
    the file's name, otherwise what the reader raises.
    """
    for reader in READERS:
        if reader.can_read(path):
            return reader.read(path, channels_last=channels_last, max_voxels=max_voxels)
    found = f"suffix {path.suffix or 'absent'}"
    known = " ".join((*SUFFIXES, *images.SUFFIXES))
    raise MedsegError(Code.NOT_AN_IMAGE, path, found, f"convert it to one of {known}")


def is_scan(path: Path) -> bool:
    """Whether the file's name is a scan's; neither hidden (also half-written) files are, nor pictures."""
    return is_measured_in("mm", path)


def is_picture(path: Path) -> bool:
    """Whether the file's name is a picture's (PNG, JPEG, TIFF, BMP), hidden ones left out."""
    return is_measured_in("px", path)


def is_measured_in(unit: Unit, path: Path) -> bool:
    """:func:`is_scan` for mm, :func:`is_picture` for px."""
    return not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES_OF[unit])


def stem(path: Path) -> str:
    """The file's name without the suffix of a scan or picture: ``a.b.nii.gz`` → ``a.b``."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
