"""Headers of frames: the tags that decide which volume a frame belongs to and where it lies."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medseg.errors import Code, Finding, MedsegError
from medseg.io.dicom.claims import frame_count
from medseg.io.dicom.files import DicomFile, looks_like_dicom, refused_container, too_deep
from medseg.limits import MAX_FRAMES, MAX_MM, MIN_MM

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

Vector = tuple[float, float, float]

_HEAD = 132
_THREADS = 8

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
    "DirectoryRecordSequence", "StackID",
)  # fmt: skip
_PHILIPS_SCALE = (0x2005, 0x100E)
_PHILIPS_FRAME = (0x2005, 0x140F)
"""Philips's private scale slope, and the private sequence of enhanced files that holds it for each frame."""


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


@dataclass(frozen=True)
class FileHeader:
    """One data set: its series, what it is, and the headers of its frames."""

    file: DicomFile
    series_uid: str
    study_uid: str
    frame_of_reference: str
    modality: str
    sop_class: str
    description: str
    manufacturer: str
    series_number: int | None
    photometric: str
    samples: int
    image_type: tuple[str, ...]
    burned_in: bool
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
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, header in enumerate(pool.map(read_header, files), 1):
            yield header
            if progress is not None:
                progress(done, "")


def read_header(file: DicomFile) -> FileHeader | Directory | Finding | None:
    """Read one file's header; None for a file that is no DICOM data set, a finding for a damaged one.

    The findings' codes are FILE_UNREADABLE, TRUNCATED, TOO_LARGE, DICOM_EMPTY and DICOM_DAMAGED.
    """
    try:
        with file.open() as stream:
            if not looks_like_dicom(head := stream.read(_HEAD)):
                return refused_container(file, head)
            stream.seek(0)
            dataset = _read(stream)
        if _is_directory(dataset):
            return Directory(file, tuple(_named_files(dataset)))
        if not len(dataset):
            return Finding(Code.DICOM_EMPTY, str(file), "a DICOM file without a data set", "export it again")
        header = _header(file, dataset)
        if not header.frames and header.not_a_scan is None:
            details = "a data set of no frame"
            return Finding(Code.DICOM_DAMAGED, str(file), details, "export it again")
        return header
    except MedsegError as error:
        return error.finding
    except OSError as error:
        if file.path.is_dir():
            return too_deep(file.path)
        details = error.strerror or type(error).__name__
        return Finding(Code.FILE_UNREADABLE, str(file), details, "check the permissions")
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"the data set cannot be read ({type(error).__name__})"
        return Finding(Code.DICOM_DAMAGED, str(file), details, "export it again")


def _read(stream: Any) -> Dataset:
    """The tags of a data set that are needed, without pixels."""
    import pydicom

    tags: list[Any] = [*_TAGS, _PHILIPS_SCALE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)


def _is_directory(dataset: Dataset) -> bool:
    media = getattr(dataset, "file_meta", None)
    return media is not None and str(media.get("MediaStorageSOPClassUID", "")) == "1.2.840.10008.1.3.10"


def _named_files(dataset: Dataset) -> Iterator[str]:
    """Paths of the files that a DICOMDIR names, with slashes."""
    for record in dataset.get("DirectoryRecordSequence") or ():
        if parts := _values(record, "ReferencedFileID"):
            yield "/".join(str(part) for part in parts)


def _header(file: DicomFile, dataset: Dataset) -> FileHeader:
    image_type = tuple(str(part) for part in _values(dataset, "ImageType"))
    frames = tuple(_frames(file, dataset))
    number = dataset.get("SeriesNumber")
    return FileHeader(
        file=file,
        series_uid=str(dataset.get("SeriesInstanceUID", "")),
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        modality=str(dataset.get("Modality", "")),
        sop_class=str(dataset.get("SOPClassUID", "")),
        description=str(dataset.get("SeriesDescription", "")),
        manufacturer=str(dataset.get("Manufacturer", "")),
        series_number=None if number in (None, "") else int(number),
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        samples=int(dataset.get("SamplesPerPixel", 1) or 1),
        image_type=image_type,
        burned_in=str(dataset.get("BurnedInAnnotation", "")).upper() == "YES",
        padding=_integer(dataset.get("PixelPaddingValue")),
        mosaic="MOSAIC" in image_type or "VFRAME" in image_type,
        frames=frames,
    )


def _frames(file: DicomFile, dataset: Dataset) -> Iterator[FrameHeader]:
    """Headers of all frames; functional groups, where there are some, win over the top level."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    count = frame_count(dataset, file)
    if per_frame is None:
        for index in range(count):
            yield _frame(file, index, dataset, _Groups(dataset, None, None, single=count == 1))
        return
    shared = dataset.get("SharedFunctionalGroupsSequence")
    common = shared[0] if shared else None
    if len(per_frame) > MAX_FRAMES:
        details = f"{len(per_frame)} frames in a file, the limit is {MAX_FRAMES}"
        raise MedsegError(Code.TOO_LARGE, file, details, "export the series in several files")
    for index, groups in enumerate(per_frame):
        yield _frame(file, index, dataset, _Groups(dataset, common, groups, single=False))


@dataclass(frozen=True)
class _Groups:
    """The places of a frame's attributes: its own functional groups, the shared ones, or the top level."""

    dataset: Dataset
    shared: Dataset | None
    own: Dataset | None
    single: bool

    def get(self, sequence: str, attribute: str) -> Any:
        """An attribute of a functional group; of a classic single frame the top level's."""
        for groups in (self.own, self.shared):
            items = None if groups is None else groups.get(sequence)
            if items and attribute in items[0]:
                return items[0].get(attribute)
        if self.own is None and self.single:
            return self.dataset.get(attribute)
        return None


def _frame(file: DicomFile, index: int, dataset: Dataset, groups: _Groups) -> FrameHeader:
    slope, intercept = _scaling(dataset, groups)
    position = _floats(groups.get("PlanePositionSequence", "ImagePositionPatient"), 3)
    return FrameHeader(
        file=file,
        index=index,
        instance_uid=str(dataset.get("SOPInstanceUID", "")),
        instance_number=_integer(dataset.get("InstanceNumber")) or 0,
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=_floats(groups.get("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing=_pair(groups.get("PixelMeasuresSequence", "PixelSpacing")),
        shape=(int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)),
        contrast=_contrast(dataset, groups),
        order=_order(dataset, groups),
        slope=slope,
        intercept=intercept,
    )


def _scaling(dataset: Dataset, groups: _Groups) -> tuple[float, float]:
    """Slope and intercept of a frame's stored values.

    Philips scanners also store a scale slope s with which (stored · slope + intercept) / (slope · s) is the
    signal itself, comparable between scans (Chenevert et al. 2014, Transl Oncol 7(1)).
    """
    sequence = "PixelValueTransformationSequence"
    slope, intercept = (_number(groups.get(sequence, name)) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and groups.own is not None:
        slope, intercept = _number(dataset.get("RescaleSlope")), _number(dataset.get("RescaleIntercept"))
    slope, intercept = slope or 1.0, intercept or 0.0
    scale = _philips_scale(dataset, groups)
    return (slope, intercept) if scale is None else (1 / scale, intercept / (slope * scale))


def _philips_scale(dataset: Dataset, groups: _Groups) -> float | None:
    if not str(dataset.get("Manufacturer", "")).lower().startswith("philips"):
        return None
    private = groups.own.get(_PHILIPS_FRAME) if groups.own is not None else None
    holder = private.value[0] if private is not None and private.value else dataset
    element = holder.get(_PHILIPS_SCALE)
    return None if element is None else (_number(element.value) or None)


def _contrast(dataset: Dataset, groups: _Groups) -> tuple[tuple[str, Any], ...]:
    """Values by which volumes of one series differ physically; rounded, so that noise splits nothing."""
    echo = _number(groups.get("MREchoSequence", "EffectiveEchoTime"))
    if echo is None:
        echo = _number(dataset.get("EchoTime"))
    b_value = _number(groups.get("MRDiffusionSequence", "DiffusionBValue"))
    if b_value is None:
        b_value = _number(dataset.get("DiffusionBValue"))
    values = {
        "component": _component(dataset, groups),
        "echo time (ms)": None if echo is None else round(echo, 2),
        "b-value (s/mm²)": None if b_value is None else round(b_value, 1),
    }
    return tuple(values.items())


def _component(dataset: Dataset, groups: _Groups) -> str | None:
    named = groups.get("MRImageFrameTypeSequence", "ComplexImageComponent")
    frame_type = groups.get("MRImageFrameTypeSequence", "FrameType")
    words = [named] if named else []
    words += [str(word) for word in (frame_type or [])][2:]
    words += [str(part) for part in _values(dataset, "ImageType")][2:] if groups.own is None else []
    return next((_COMPONENTS[word] for word in words if word in _COMPONENTS), None)


def _order(dataset: Dataset, groups: _Groups) -> tuple[tuple[str, Any], ...]:
    """Values that may tell repetitions of one position apart, the most telling first."""
    content = "FrameContentSequence"
    directions = groups.get("MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    direction = directions[0].get("DiffusionGradientOrientation") if directions else None
    if direction is None:
        direction = dataset.get("DiffusionGradientOrientation")
    gradient = _floats(direction, 3)
    indices = groups.get(content, "DimensionIndexValues")
    temporal = groups.get(content, "TemporalPositionIndex")
    values: dict[str, Any] = {
        "gradient": None if gradient is None else tuple(round(x, 4) for x in gradient),
        "time point": _integer(temporal or dataset.get("TemporalPositionIdentifier")),
        "image type": tuple(str(part) for part in _values(dataset, "ImageType")),
        "frame type": tuple(str(p) for p in groups.get("MRImageFrameTypeSequence", "FrameType") or ()),
        "stack": str(groups.get(content, "StackID") or dataset.get("StackID") or ""),
        "echo": _integer(dataset.get("EchoNumbers")),
        "acquisition": _integer(
            groups.get(content, "FrameAcquisitionNumber") or dataset.get("AcquisitionNumber")
        ),
        "trigger time": _number(dataset.get("TriggerTime")),
        "acquisition time": str(dataset.get("AcquisitionTime") or dataset.get("AcquisitionDateTime") or ""),
        "content time": str(dataset.get("ContentTime") or ""),
    }
    values |= {f"dimension {n}": int(value) for n, value in enumerate(indices or (), 1)}
    return tuple(values.items())


def _values(dataset: Dataset, keyword: str) -> Sequence[Any]:
    value = dataset.get(keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    """``count`` numbers that may be lengths in mm or direction cosines, or None."""
    try:
        numbers = tuple(float(x) for x in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(abs(x) <= MAX_MM for x in numbers) else None


def _pair(value: Any) -> tuple[float, float] | None:
    numbers = _floats(value, 2)
    return None if numbers is None or min(numbers) < MIN_MM else (numbers[0], numbers[1])
