"""The tiny subjects of `box_subjects` as a DICOM export with segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg.classes import ClassList
from medseg.io.dicom import seg
from medseg.io.dicom.series import read_files
from tests.helpers.dicom_files import write_series

CLASSES = ClassList.from_names({0: "background", 1: "outer", 2: "inner"})


def as_dicom(nifti: Path, export: Path, **tags: Any) -> list[str]:
    """Write every subject below `nifti` as a series and, where it is labelled, a SEG; give their UIDs.

    Patients are called CANARY and have the subject's name as ID.
    """
    uids = []
    for number, folder in enumerate(sorted(nifti.iterdir()), 1):
        image = nib.load(folder / f"{folder.name}.nii.gz")
        own = {
            "PatientID": f"CANARY-{folder.name}",
            "PatientName": "CANARY^ANNA",
            "SeriesDescription": "t1 mprage",
            "StudyInstanceUID": f"1.2.{number}",
            "FrameOfReferenceUID": f"1.2.{number}.9",
            **tags,
        }
        uids.append(f"1.2.{number}.1")
        add_series(export / f"CANARY {number}/t1", image, series=uids[-1], **own)
        label = folder / f"{folder.name}_seg.nii.gz"
        if label.is_file():
            add_seg(export / f"CANARY {number}/t1", nib.load(label), export / f"CANARY {number}/seg.dcm")
    return uids


def add_series(folder: Path, image: Any, *, series: str, **tags: Any) -> None:
    """Write a NIfTI image of whole values from -1000 as a series, with an intercept of -1000."""
    stored = (np.asarray(image.dataobj).astype(np.int32) + 1000).astype(np.uint16)
    more = {"RescaleSlope": "1", "RescaleIntercept": "-1000", **tags}
    write_series(folder, stored, image.affine, series=series, **more)


def add_seg(series: Path, label: Any, path: Path, classes: ClassList = CLASSES, **keywords: Any) -> None:
    """Write a NIfTI label map on the grid of the series in a folder as its SEG."""
    (volume,) = read_files([series]).volumes
    assert volume.grid is not None
    np.testing.assert_allclose(volume.grid.affine, label.affine, atol=1e-5)
    seg.write(
        np.asarray(label.dataobj).astype(np.uint8), volume, classes, path, algorithm=("demo", "1"), **keywords
    )
