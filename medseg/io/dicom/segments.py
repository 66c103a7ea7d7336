"""DICOM SEG objects as label maps: what they refer to, which segments they hold, their voxels on a grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import SAME_GRID_MM, Array, Grid
from medseg.io.dicom import seg
from medseg.io.dicom.files import DicomFile

if TYPE_CHECKING:
    from pydicom import Dataset

SOP_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation Storage and Label Map Segmentation Storage."""

_TAGS = (
    "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesDescription",
    "SegmentationType", "SegmentSequence", "ReferencedSeriesSequence",
)  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """A segment of a SEG: its number, its label, the code of its property type as `SCT:10200004`."""

    number: int
    label: str
    code: str = ""


@dataclass(frozen=True)
class SegHeader:
    """A SEG object: the series, instances and frame of reference that it refers to, and its segments.

    The background that a LABELMAP describes as segment 0 is none of them.
    """

    file: DicomFile
    study_uid: str
    frame_of_reference: str
    description: str
    kind: str
    series_uids: frozenset[str]
    instance_uids: frozenset[str]
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class SegPart:
    """A SEG file and the value that each of its segments, by number, has in the label map."""

    file: DicomFile
    values: Mapping[int, int]


def read_header(file: DicomFile) -> SegHeader | Finding | None:
    """Read a SEG's header without its pixels.

    None for any other DICOM object; a finding for a damaged SEG, and SEG_FRACTIONAL for one of fractions.
    """
    import pydicom

    try:
        with file.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        if str(dataset.get("SOPClassUID", "")) not in SOP_CLASSES:
            return None
        header = _header(file, dataset)
    except MedsegError as error:
        return error.finding
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"no readable segmentation ({type(error).__name__})"
        return Finding(Code.DICOM_DAMAGED, str(file), details, "export it again")
    if header.kind not in ("BINARY", "LABELMAP"):
        details = f"SegmentationType {header.kind[:16] or 'absent'}, fractions of voxels"
        return Finding(Code.SEG_FRACTIONAL, str(file), details, "save it as a BINARY segmentation")
    return header


def _header(file: DicomFile, dataset: Dataset) -> SegHeader:
    referenced = list(dataset.get("ReferencedSeriesSequence") or ())
    instances = (item for series in referenced for item in series.get("ReferencedInstanceSequence") or ())
    return SegHeader(
        file=file,
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        description=str(dataset.get("SeriesDescription", "")),
        kind=str(dataset.get("SegmentationType", "")),
        series_uids=frozenset(str(series.SeriesInstanceUID) for series in referenced),
        instance_uids=frozenset(str(item.get("ReferencedSOPInstanceUID", "")) for item in instances),
        segments=tuple(segment for item in dataset.SegmentSequence if (segment := _segment(item)).number > 0),
    )


def _segment(item: Dataset) -> Segment:
    kinds: Sequence[Any] = item.get("SegmentedPropertyTypeCodeSequence") or ()
    code = f"{kinds[0].get('CodingSchemeDesignator', '')}:{kinds[0].get('CodeValue', '')}" if kinds else ""
    return Segment(int(item.SegmentNumber), str(item.get("SegmentLabel", "")), code)


def read_values(parts: Sequence[SegPart], grid: Grid, where: Path, *, background: int = 0) -> Array:
    """Read SEGs as one label map (X, Y, Z) int32 on ``grid``; voxels of no segment, ``background``.

    Segments without a value are left out. Raises GRID_MISMATCH, DICOM_DAMAGED, and SEGMENTS_OVERLAP where a
    voxel is in segments of different values; all name ``where``.
    """
    labels = np.full(grid.shape, background, np.int32)
    taken = np.zeros(grid.shape, bool)
    overlap = 0
    for part in parts:
        for number, z, mask in _frames(part.file, grid, where):
            value = part.values.get(number)
            if value is None or value == background:
                continue
            overlap += int(np.count_nonzero(mask & taken[:, :, z] & (labels[:, :, z] != value)))
            labels[:, :, z][mask] = value
            taken[:, :, z] |= mask
    if overlap:
        details = f"{overlap} voxels are in segments of different classes"
        how_to_fix = "correct the segmentation, or name data.masks instead of data.classes"
        raise MedsegError(Code.SEGMENTS_OVERLAP, where, details, how_to_fix)
    return labels


def _frames(file: DicomFile, grid: Grid, where: Path) -> Iterator[tuple[int, int, Array]]:
    try:
        stream = file.open()
    except OSError as error:
        details = error.strerror or type(error).__name__
        raise MedsegError(Code.FILE_UNREADABLE, where, details, "check the permissions") from None
    with stream:
        for _, number, z, mask in seg.frames_on(stream, grid, where, SAME_GRID_MM):
            yield number, z, mask
