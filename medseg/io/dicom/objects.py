"""DICOM objects of results: their sources, and UIDs and dates that are made from content, never drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.coding import CodedName
from medseg.errors import Code, MedsegError
from medseg.io.dicom.series import SeriesVolume

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "medseg"
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientSex", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes of type 2: they must stand in a SEG, and may be empty."""


def source_datasets(volume: SeriesVolume) -> list[Dataset]:
    """The data sets of a volume's files, without pixels, in the order of its slices."""
    import pydicom

    datasets = []
    for file in volume.files:
        with file.open() as stream:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        _complete(dataset, volume)
        datasets.append(dataset)
    return datasets


def _complete(dataset: Dataset, volume: SeriesVolume) -> None:
    """Add attributes that a SEG must have and may leave empty, where the series lacks them."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    dataset.decode()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    if not dataset.get("FrameOfReferenceUID"):
        dataset.FrameOfReferenceUID = content_uid(volume.header.series_uid, "frame of reference")
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    gap = f"{volume.grid.spacing[2]:.9g}" if volume.grid is not None else ""
    if not per_frame and not dataset.get("SliceThickness"):
        dataset.SliceThickness = gap
    if per_frame:  # what all frames share may stand with each of them; here it must stand once
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            if name not in shared and name in per_frame[0]:
                setattr(shared, name, per_frame[0].get(name))
        if not shared.PixelMeasuresSequence[0].get("SliceThickness"):
            shared.PixelMeasuresSequence[0].SliceThickness = gap


@contextmanager
def refused_by_kind(what: str, path: Path) -> Iterator[None]:
    """Turn what a library says of an impossible object into SEG_IMPOSSIBLE, and keep its warnings quiet.

    Its own words may quote a name, so that only the kind of error is told, or the attribute that is missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
        details = f"{what} ({_kind(error)})"
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "use the NIfTI label map") from error


def _kind(error: Exception) -> str:
    from pydicom.datadict import tag_for_keyword

    name = error.name if isinstance(error, AttributeError) else None
    return f"no {name}" if name and tag_for_keyword(name) is not None else type(error).__name__


def dicom_code(code: CodedName) -> Any:
    """A code as highdicom takes it."""
    from pydicom.sr.coding import Code as DicomCode

    return DicomCode(code.value, code.scheme, code.meaning)


def content_uid(content: str, what: str) -> str:
    """A UID made from a hash of the content and the kind of object: the same content gives the same UID."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[content, what]))


def series_number(volume: SeriesVolume) -> int:
    """A number for the new series, away from those of scanners."""
    return min(1_000_000 + (volume.header.series_number or 0) % 1_000_000 + volume.number, 2**31 - 1)


def set_dates(result: Any, source: Dataset, content: str) -> None:
    """Dates and times of the series instead of now, and UIDs made from the content instead of drawn ones."""
    date = str(source.get("ContentDate") or source.get("SeriesDate") or source.get("StudyDate") or "19700101")
    time = str(source.get("ContentTime") or source.get("SeriesTime") or source.get("StudyTime") or "000000")
    for keyword, value in (
        ("ContentDate", date), ("ContentTime", time), ("SeriesDate", date), ("SeriesTime", time),
        ("InstanceCreationDate", date), ("InstanceCreationTime", time),
    ):  # fmt: skip
        setattr(result, keyword, value)
    for item in result.get("ContributingEquipmentSequence", [])[-1:]:  # the library's own, made just now
        item.ContributionDateTime = f"{date}{time}"
    organization = content_uid(content, "dimensions")
    for item in result.get("DimensionOrganizationSequence", []):
        item.DimensionOrganizationUID = organization
    for item in result.get("DimensionIndexSequence", []):
        item.DimensionOrganizationUID = organization
