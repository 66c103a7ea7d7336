"""The table of readers: one function that reads a scan, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from medseg.errors import Code, MedsegError
from medseg.io import itk, nifti, placement
from medseg.volume import Volume


class Reader(Protocol):
    """A module that reads one family of formats."""

    SUFFIXES: tuple[str, ...]

    def can_read(self, path: Path) -> bool:
        """Whether the file's name is one of this family's."""

    def read(
        self, path: Path, *, channels_last: bool = False, max_voxels: int = placement.MAX_VOXELS
    ) -> Volume:
        """Read the file as (C, X, Y, Z); refuse it with a coded error."""


READERS: tuple[Reader, ...] = (cast("Reader", nifti), cast("Reader", itk))

SUFFIXES = tuple(suffix for reader in READERS for suffix in reader.SUFFIXES)
"""All suffixes a scan may have, longer ones before those they end in."""


def read(path: Path, *, channels_last: bool = False, max_voxels: int = placement.MAX_VOXELS) -> Volume:
    """Read a scan or label map of any known format as (C, X, Y, Z) on its grid, with notes.

    ``channels_last`` takes a fourth axis as channels. Raises NOT_AN_IMAGE where no reader knows the file's
    name, otherwise what the reader raises.
    """
    for reader in READERS:
        if reader.can_read(path):
            return reader.read(path, channels_last=channels_last, max_voxels=max_voxels)
    found = f"suffix {path.suffix or 'absent'}"
    raise MedsegError(Code.NOT_AN_IMAGE, path, found, f"convert it to one of {' '.join(SUFFIXES)}")


def is_scan(path: Path) -> bool:
    """Whether the file's name is one that a reader reads; hidden files (also half-written ones) are not."""
    return not path.name.startswith(".") and any(reader.can_read(path) for reader in READERS)


def stem(path: Path) -> str:
    """The file's name without the suffix of a scan: ``a.b.nii.gz`` → ``a.b``."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
