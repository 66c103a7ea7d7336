"""Writing arrays as scans, for every test that needs files of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.io import nifti
from medseg.volume import Volume

STEP = np.diag([1.0, 1.0, 2.0, 1.0])
"""The affine of voxels of 1 × 1 × 2 mm."""


def save(path: Path, array: Any, affine: Any = STEP, **header: Any) -> Path:
    """Write a NIfTI file; `sform` and `qform` are codes, `qaffine` a qform of its own."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, header.get("sform", 1))
    image.set_qform(header.get("qaffine", affine), header.get("qform", 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


def codes(volume: Volume) -> set[Code]:
    """The codes of a volume's notes."""
    return {note.code for note in volume.notes}


def refused(path: Path, **keywords: Any) -> Code:
    """The code by which reading a file is refused."""
    with pytest.raises(MedsegError) as caught:
        nifti.read(path, **keywords)
    assert caught.value.finding.where
    assert caught.value.finding.details
    return caught.value.code
