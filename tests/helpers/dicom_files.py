"""Synthetic DICOM series whose geometry and values are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from medseg.grid import Array

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def slice_dataset(
    pixels: Array, affine: Array, index: int, *, series: str, uid: str | None = None, **tags: Any
) -> FileDataset:
    """One slice of a volume (X, Y, Z) on a RAS affine as a classic MR instance; ``tags`` override."""
    lps = _LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    told = [series, str(index), str(affine), str(pixels[:, :, index]), str(sorted(map(str, tags.items())))]
    instance = uid or generate_uid(entropy_srcs=told)
    dataset = _dataset(MR, instance)
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, generate_uid(entropy_srcs=["study"])
    dataset.Modality, dataset.InstanceNumber = "MR", index + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ImagePositionPatient = _strings(lps[:3, 3] + index * lps[:3, 2])
    cosines = np.concatenate([lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]])
    dataset.ImageOrientationPatient = _strings(cosines)
    dataset.PixelSpacing = _strings((spacing[1], spacing[0]))
    set_pixels(dataset, pixels[:, :, index].T)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def write_series(
    folder: Path,
    pixels: Array,
    affine: Array,
    *,
    series: str | None = None,
    slices: Sequence[int] | None = None,
    prefix: str = "",
    **tags: Any,
) -> list[Path]:
    """Write the slices of a volume as files whose names and instance numbers tell nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid(entropy_srcs=[str(folder)])
    chosen = list(range(pixels.shape[2])) if slices is None else list(slices)
    shuffled = np.random.default_rng(0).permutation(len(chosen))
    paths = []
    for name, index in zip(shuffled, chosen, strict=True):
        dataset = slice_dataset(
            pixels, affine, index, series=series, **{"InstanceNumber": int(name) + 1, **tags}
        )
        path = folder / f"{prefix}{name:03d}"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def enhanced_dataset(volumes: Sequence[Array], affine: Array, **tags: Any) -> FileDataset:
    """Several time points (X, Y, Z) on a RAS affine as one enhanced multi-frame instance."""
    lps = _LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    dataset = _dataset(ENHANCED_MR, generate_uid(entropy_srcs=["enhanced"]))
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.InstanceNumber = "MR", 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    cosines = np.concatenate([lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]])
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=_strings(cosines))
    shared.PixelMeasuresSequence = _item(PixelSpacing=_strings((spacing[1], spacing[0])))
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames, planes = [], []
    for time, volume in enumerate(volumes, 1):
        for index in range(volume.shape[2]):
            groups = Dataset()
            position = lps[:3, 3] + index * lps[:3, 2]
            groups.PlanePositionSequence = _item(ImagePositionPatient=_strings(position))
            groups.FrameContentSequence = _item(TemporalPositionIndex=time)
            frames.append(groups)
            planes.append(volume[:, :, index].T)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    set_pixels(dataset, np.stack(planes))
    dataset.NumberOfFrames = len(frames)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def set_pixels(dataset: Dataset, pixels: Array) -> None:
    """Store uint16 pixels (rows, columns), or frames of them, uncompressed."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = np.ascontiguousarray(pixels, np.uint16).tobytes()


def _dataset(sop_class: str, instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    return dataset


def _item(**tags: Any) -> DicomSequence:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return DicomSequence([item])


def _strings(numbers: Iterable[float]) -> list[str]:
    """Decimal strings of at most 16 characters, as DICOM stores them."""
    return [format_number_as_ds(float(number)) for number in numbers]


def encode_by_gdcm(path: Path, syntax: str) -> None:
    """Encode a file anew, in the transfer syntax of gdcm's name."""
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    if not reader.Read():
        raise RuntimeError(f"gdcm cannot read {path}")
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise RuntimeError(f"gdcm cannot encode {path}")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    if not writer.Write():
        raise RuntimeError(f"gdcm cannot write {path}")
