"""Headers of frames: the tags that decide which volume a frame belongs to and where it lies."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from medseg.errors import Code, Finding, MedsegError
from medseg.io.dicom import plain_pixels, terms
from medseg.io.dicom.claims import BoundedReads, frame_count
from medseg.io.dicom.elements import PlainDataset, read_plain
from medseg.io.dicom.files import DicomFile, looks_like_dicom, misnamed, refused_container, too_deep
from medseg.io.dicom.frame_groups import (
    GE_COMPONENT,
    PHILIPS_SCALE,
    SIEMENS_B_VALUE,
    FrameGroups,
    ge_component,
    scaling_of,
    siemens_b_value,
)
from medseg.io.dicom.plain_pixels import StoredPixels
from medseg.io.dicom.processes import alone, spread
from medseg.io.dicom.values import (
    as_floats,
    as_integer,
    as_number,
    as_pair,
    tag_of,
    value_of,
    values_of,
)
from medseg.limits import MAX_FRAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

Vector = tuple[float, float, float]

_HEAD = 132
_CHUNK = 8
"""Files whose headers are read at a time."""

_COMPONENTS = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}
"""Words of ImageType and ComplexImageComponent for the parts of a complex MR signal."""

_NOT_SCANS = {
    "SEG": "a segmentation object",
    "RTSTRUCT": "a set of radiotherapy structures",
    "RTPLAN": "a radiotherapy plan",
    "RTDOSE": "a radiotherapy dose",
    "RTRECORD": "a radiotherapy record",
    "SR": "a structured report",
    "PR": "a presentation state",
    "KO": "a list of key objects",
    "REG": "a registration",
    "FID": "a set of fiducials",
    "DOC": "a document",
    "AU": "audio",
    "ECG": "an electrocardiogram",
    "PLAN": "a plan",
}
"""Modalities whose objects are not scans."""

_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID",
    "Modality", "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsStored", "PixelRepresentation", "PixelPaddingValue",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "EchoTime", "EchoNumbers",
    "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "AcquisitionTime",
    "AcquisitionDateTime", "ContentTime", "TriggerTime", "DiffusionBValue", "DiffusionGradientOrientation",
    "InstanceNumber", "SeriesNumber", "SeriesDescription", "Manufacturer", "ComplexImageComponent",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "BurnedInAnnotation",
    "DirectoryRecordSequence", "StackID", "ConversionType", "PatientID", "FlipAngle", "InversionTime",
)  # fmt: skip

_PRIVATE_TAGS = (PHILIPS_SCALE, GE_COMPONENT, SIEMENS_B_VALUE)


@dataclass(frozen=True)
class FrameHeader:
    """One frame of a file: where it lies, how its values are scaled, what tells its contrast.

    ``position`` (mm, LPS) is the centre of the first pixel; ``orientation`` the direction cosines of a row
    and of a column; ``spacing`` (mm) between rows and between columns; ``shape`` rows and columns.
    ``contrast`` are values that differ between volumes by physics, ``order`` those that tell repetitions
    apart, each by name. ``slope`` and ``intercept`` scale stored values.
    """

    file: DicomFile
    index: int
    instance_uid: str
    instance_number: int
    position: Vector | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    shape: tuple[int, int]
    contrast: tuple[tuple[str, Any], ...] = ()
    order: tuple[tuple[str, Any], ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    pixels: StoredPixels | None = None


@dataclass(frozen=True)
class FileHeader:
    """One data set: its series, what it is, and the headers of its frames.

    ``modality`` and ``photometric`` may be shown; ``description`` and ``manufacturer`` may name a patient.
    ``burned_in`` says why text may be burned into the pixels; it is empty where nothing points to it.
    """

    file: DicomFile
    series_uid: str
    study_uid: str
    frame_of_reference: str
    patient: str = field(repr=False)
    modality: str
    sop_class: str
    description: str
    manufacturer: str
    series_number: int | None
    photometric: str
    samples: int
    image_type: tuple[str, ...]
    burned_in: str
    padding: int | None
    mosaic: bool
    frames: tuple[FrameHeader, ...] = field(repr=False)

    @property
    def not_a_scan(self) -> str | None:
        """The kind of an object that is not a scan, in words; None for scans."""
        return _NOT_SCANS.get(self.modality)


@dataclass(frozen=True)
class Directory:
    """A DICOMDIR: the files that it names, as paths below its folder."""

    file: DicomFile
    names: tuple[str, ...]


def read_headers(
    files: Sequence[DicomFile], progress: Callable[[int, str], None] | None = None
) -> Iterator[FileHeader | Directory | Finding | None]:
    """Read the headers of files, several at a time, without their pixels; in the order of ``files``.

    A file that is no DICOM data set gives None, a damaged one a finding.
    """
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    for number, headers in enumerate(spread(_read_chunk, chunks, _read_alone)):
        for done, header in enumerate(headers, number * _CHUNK + 1):
            yield header
            if progress is not None:
                progress(done, "")


def _read_chunk(files: Sequence[DicomFile]) -> list[FileHeader | Directory | Finding | None]:
    return [read_header(file) for file in files]


def _read_alone(files: Sequence[DicomFile]) -> list[FileHeader | Directory | Finding | None]:
    """Headers of files at one of which a helper died: each by a helper of its own."""
    return [_header_alone(file) for file in files]


def _header_alone(file: DicomFile) -> FileHeader | Directory | Finding | None:
    try:
        return alone(read_header, file)
    except OSError:
        return Finding(Code.DICOM_DAMAGED, str(file), "the parser crashed on the data set", "export it again")


def read_header(file: DicomFile) -> FileHeader | Directory | Finding | None:
    """Read one file's header; None for a file that is no DICOM data set, a finding for a damaged one.

    The findings' codes are FILE_UNREADABLE, TRUNCATED, TOO_LARGE, DICOM_EMPTY and DICOM_DAMAGED.
    """
    try:
        with warnings.catch_warnings(), file.open() as stream:
            warnings.simplefilter("ignore")  # pydicom's quote values
            if not looks_like_dicom(head := stream.read(_HEAD)):
                return refused_container(file, head) or misnamed(file, head)
            stream.seek(0)
            if (plain := _read_plain(stream)) is not None:
                return _header(file, plain)
            stream.seek(0)
            dataset = _read(BoundedReads(stream, file))
            if _is_directory(dataset):
                return Directory(file, tuple(_named_files(dataset)))
            if not len(dataset):
                details = "a DICOM file without a data set"
                return Finding(Code.DICOM_EMPTY, str(file), details, "export it again")
            header = _header(file, dataset)
        if not header.frames and header.not_a_scan is None:
            details = "a data set of no frame"
            return Finding(Code.DICOM_DAMAGED, str(file), details, "export it again")
        return header
    except MedsegError as error:
        return error.finding
    except OSError as error:
        if error.errno == errno.EISDIR:
            return too_deep(file.path)
        if error.errno is None:  # the parser's own, beyond a damaged sequence
            return Finding(Code.DICOM_DAMAGED, str(file), "the data set is cut off", "export it again")
        details = error.strerror or type(error).__name__
        return Finding(Code.FILE_UNREADABLE, str(file), details, "check the permissions")
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"the data set cannot be read ({type(error).__name__})"
        return Finding(Code.DICOM_DAMAGED, str(file), details, "export it again")


def _read(stream: Any) -> Dataset:
    """The tags of a data set that are needed, without pixels."""
    import pydicom

    tags = [*map(tag_of, (*_TAGS, *_PRIVATE_TAGS))]
    return pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)


def _read_plain(stream: Any) -> Any:
    """The tags of a classic slice, with `get` as a data set has it; None for anything else."""
    plain = read_plain(stream, _wanted())
    return plain if plain is not None and value_of(plain, "NumberOfFrames", 1) == 1 else None


@cache
def _wanted() -> frozenset[int]:
    return frozenset(map(tag_of, (*_TAGS, *_PRIVATE_TAGS, *plain_pixels.TAGS)))


def _is_directory(dataset: Dataset) -> bool:
    media = getattr(dataset, "file_meta", None)
    return media is not None and str(media.get("MediaStorageSOPClassUID", "")) == "1.2.840.10008.1.3.10"


def _named_files(dataset: Dataset) -> Iterator[str]:
    """Paths of the files that a DICOMDIR names, with slashes."""
    for record in value_of(dataset, "DirectoryRecordSequence") or ():
        if parts := values_of(record, "ReferencedFileID"):
            yield "/".join(str(part) for part in parts)


def _header(file: DicomFile, dataset: Dataset) -> FileHeader:
    image_type = tuple(str(part) for part in values_of(dataset, "ImageType"))
    frames = tuple(_frames(file, dataset))
    number = value_of(dataset, "SeriesNumber")
    return FileHeader(
        file=file,
        series_uid=str(value_of(dataset, "SeriesInstanceUID", "")),
        study_uid=str(value_of(dataset, "StudyInstanceUID", "")),
        frame_of_reference=str(value_of(dataset, "FrameOfReferenceUID", "")),
        patient=str(value_of(dataset, "PatientID") or ""),
        modality=terms.shown(str(value_of(dataset, "Modality") or ""), terms.MODALITIES, "unknown"),
        sop_class=str(value_of(dataset, "SOPClassUID", "")),
        description=str(value_of(dataset, "SeriesDescription", "")),
        manufacturer=str(value_of(dataset, "Manufacturer", "")),
        series_number=None if number in (None, "") else int(number),
        photometric=terms.shown(str(value_of(dataset, "PhotometricInterpretation") or ""), terms.PHOTOMETRIC),
        samples=int(value_of(dataset, "SamplesPerPixel", 1) or 1),
        image_type=image_type,
        burned_in=terms.burned_in(
            str(value_of(dataset, "BurnedInAnnotation", "")),
            str(value_of(dataset, "SOPClassUID", "")),
            str(value_of(dataset, "ConversionType") or ""),
            str(value_of(dataset, "Modality", "")),
            image_type,
        ),
        padding=as_integer(value_of(dataset, "PixelPaddingValue")),
        mosaic="MOSAIC" in image_type or "VFRAME" in image_type,
        frames=frames,
    )


def _frames(file: DicomFile, dataset: Dataset) -> Iterator[FrameHeader]:
    """Headers of all frames; functional groups, where there are some, win over the top level."""
    per_frame = value_of(dataset, "PerFrameFunctionalGroupsSequence")
    count = frame_count(dataset, file)
    if per_frame is None:
        for index in range(count):
            yield _frame(file, index, dataset, FrameGroups(dataset, None, None, single=count == 1))
        return
    shared = value_of(dataset, "SharedFunctionalGroupsSequence")
    common = shared[0] if shared else None
    if len(per_frame) > MAX_FRAMES:
        details = f"more frames in a file than the limit, {MAX_FRAMES}"
        raise MedsegError(Code.TOO_LARGE, file, details, "export the series in several files")
    if len(per_frame) != count:
        details = f"{count} frames, and a place in space for {len(per_frame)}"
        raise MedsegError(Code.DICOM_DAMAGED, file, details, "export it again")
    for index, groups in enumerate(per_frame):
        yield _frame(file, index, dataset, FrameGroups(dataset, common, groups, single=False))


def _frame(file: DicomFile, index: int, dataset: Dataset, groups: FrameGroups) -> FrameHeader:
    try:
        slope, intercept = scaling_of(dataset, groups)
    except ValueError:
        details = "its rescale slope or intercept is no number"
        raise MedsegError(Code.DICOM_DAMAGED, file, details, "export it again") from None
    position = as_floats(groups.get("PlanePositionSequence", "ImagePositionPatient"), 3)
    return FrameHeader(
        file=file,
        index=index,
        instance_uid=str(value_of(dataset, "SOPInstanceUID", "")),
        instance_number=as_integer(value_of(dataset, "InstanceNumber")) or 0,
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=as_floats(groups.get("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing=as_pair(groups.get("PixelMeasuresSequence", "PixelSpacing")),
        shape=(int(value_of(dataset, "Rows", 0) or 0), int(value_of(dataset, "Columns", 0) or 0)),
        contrast=_contrast(dataset, groups),
        order=_order(dataset, groups),
        slope=slope,
        intercept=intercept,
        pixels=plain_pixels.locate(dataset) if isinstance(dataset, PlainDataset) else None,
    )


def _contrast(dataset: Dataset, groups: FrameGroups) -> tuple[tuple[str, Any], ...]:
    """Values by which volumes of one series differ physically; rounded, so that noise splits nothing."""
    echo = as_number(groups.get("MREchoSequence", "EffectiveEchoTime"))
    if echo is None:
        echo = as_number(value_of(dataset, "EchoTime"))
    b_value = as_number(groups.get("MRDiffusionSequence", "DiffusionBValue"))
    if b_value is None:
        b_value = as_number(value_of(dataset, "DiffusionBValue"))
    if b_value is None:
        b_value = siemens_b_value(dataset)
    values = {
        "component": _component(dataset, groups),
        "echo time (ms)": None if echo is None else round(echo, 2),
        "b-value (s/mm²)": None if b_value is None else round(b_value, 1),
    }
    return tuple(values.items())


def _component(dataset: Dataset, groups: FrameGroups) -> str | None:
    named = groups.get("MRImageFrameTypeSequence", "ComplexImageComponent")
    frame_type = groups.get("MRImageFrameTypeSequence", "FrameType")
    words = [named] if named else []
    words += [str(word) for word in (frame_type or [])][2:]
    words += [str(part) for part in values_of(dataset, "ImageType")][2:] if groups.own is None else []
    return next((_COMPONENTS[word] for word in words if word in _COMPONENTS), ge_component(dataset))


def _inversion_time(dataset: Dataset, groups: FrameGroups) -> float | None:
    times = groups.get("MRModifierSequence", "InversionTimes")
    return as_number(times if groups.own is not None else value_of(dataset, "InversionTime"))


def _order(dataset: Dataset, groups: FrameGroups) -> tuple[tuple[str, Any], ...]:
    """Values that may tell repetitions of one position apart, the most telling first."""
    content = "FrameContentSequence"
    directions = groups.get("MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    direction = value_of(directions[0], "DiffusionGradientOrientation") if directions else None
    if direction is None:
        direction = value_of(dataset, "DiffusionGradientOrientation")
    gradient = as_floats(direction, 3)
    indices = groups.get(content, "DimensionIndexValues")
    temporal = groups.get(content, "TemporalPositionIndex")
    values: dict[str, Any] = {
        "gradient": None if gradient is None else tuple(round(x, 4) for x in gradient),
        "flip angle (°)": as_number(groups.get("MRTimingAndRelatedParametersSequence", "FlipAngle")),
        "inversion time (ms)": _inversion_time(dataset, groups),
        "time point": as_integer(temporal or value_of(dataset, "TemporalPositionIdentifier")),
        "image type": tuple(str(part) for part in values_of(dataset, "ImageType")),
        "frame type": tuple(str(p) for p in groups.get("MRImageFrameTypeSequence", "FrameType") or ()),
        "stack": str(groups.get(content, "StackID") or value_of(dataset, "StackID") or ""),
        "echo": as_integer(value_of(dataset, "EchoNumbers")),
        "acquisition": as_integer(
            groups.get(content, "FrameAcquisitionNumber") or value_of(dataset, "AcquisitionNumber")
        ),
        "trigger time": as_number(value_of(dataset, "TriggerTime")),
        "acquisition time": str(
            value_of(dataset, "AcquisitionTime") or value_of(dataset, "AcquisitionDateTime") or ""
        ),
        "content time": str(value_of(dataset, "ContentTime") or ""),
    }
    values |= {f"dimension {n}": int(value) for n, value in enumerate(indices or (), 1)}
    return tuple(values.items())
