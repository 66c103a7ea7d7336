"""The size of a scan or image by its header alone, to plan with: a later reader checks what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from PIL import Image, UnidentifiedImageError

from medseg.io import images, itk


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
            with Image.open(path) as image:
                return ScanSize((image.width, image.height, 1), 4, max(channels, len(image.getbands())))
        if itk.can_read(path):
            import SimpleITK  # here, as few scans need it

            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            shape, itemsize = reader.GetSize(), 8
        else:
            header = nib.load(path).header
            shape, itemsize = header.get_data_shape(), max(header.get_data_dtype().itemsize, 1)
    except (OSError, ValueError, RuntimeError, ImageFileError, UnidentifiedImageError):
        return None
    sides = [max(1, int(n)) for n in (*shape, 1, 1)[:3]]
    return ScanSize((sides[0], sides[1], sides[2]), itemsize, channels)
