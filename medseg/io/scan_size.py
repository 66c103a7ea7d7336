"""The size of a scan or image by its header alone, to plan with: a later reader checks what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from medseg import files
from medseg.errors import MedsegError
from medseg.io import images, itk, nifti


@dataclass(frozen=True)
class ScanSize:
    """Voxels along each axis, bytes of a value, and channels."""

    shape: tuple[int, int, int]
    itemsize: int
    channels: int = 1

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of all channels."""
        return self.voxels * self.itemsize * self.channels


def of_file(path: Path, channels: int = 1) -> ScanSize | None:
    """Read the size of a file's header; None where it does not tell. A case has so many ``channels``."""
    try:
        if images.can_read(path):
            with files.open_regular(path) as file, Image.open(file) as image:
                return ScanSize((image.width, image.height, 1), 4, max(channels, len(image.getbands())))
        if itk.can_read(path):
            shape, itemsize = itk.axes_of(path), 8
        else:
            layout = nifti.layout_of(path)
            shape, itemsize = layout.shape, layout.dtype.itemsize
    except (OSError, ValueError, MedsegError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    sides = [max(1, int(n)) for n in (*shape, 1, 1)[:3]]
    return ScanSize((sides[0], sides[1], sides[2]), itemsize, channels)
