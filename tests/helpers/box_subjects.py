"""Tiny subjects that every pipeline test can learn from: a box in a box, the inner one brighter."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

Box = tuple[slice, slice, slice]

SMALL = ((20, 24, 6), np.s_[3:17, 4:20, 1:5], np.s_[7:13, 8:16, 2:4])
LARGE = ((48, 56, 20), np.s_[8:40, 8:48, 3:17], np.s_[16:30, 18:34, 6:14])
"""Shape, outer box (value 1) and inner box (value 2)."""


def make_subjects(
    folder: Path,
    labelled: int,
    unlabelled: int = 0,
    form: tuple[tuple[int, int, int], Box, Box] = SMALL,
    noise: float = 5.0,
) -> None:
    """Write `s0/s0.nii.gz` and `s0/s0_seg.nii.gz`, …; the last `unlabelled` subjects have no label map."""
    shape, outer, inner = form
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for n in range(labelled + unlabelled):
        label = np.zeros(shape, np.uint8)
        label[outer] = 1
        label[inner] = 2
        grey = np.random.default_rng(n).normal(0, noise, shape) * (label > 0)
        image = np.rint(label * 100 + grey).astype(np.int16)
        (folder / f"s{n}").mkdir(parents=True)
        nib.Nifti1Image(image, affine).to_filename(folder / f"s{n}/s{n}.nii.gz")
        if n < labelled:
            nib.Nifti1Image(label, affine).to_filename(folder / f"s{n}/s{n}_seg.nii.gz")
