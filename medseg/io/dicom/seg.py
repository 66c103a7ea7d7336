"""DICOM SEG: label maps as segmentation objects of the series they were made from, read back before kept."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from medseg import files
from medseg.classes import ClassList
from medseg.coding import CodedName
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io.dicom import claims
from medseg.io.dicom.codes import codes_of
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.objects import (
    MANUFACTURER,
    content_uid,
    dicom_code,
    refused_by_kind,
    series_number,
    set_dates,
    source_datasets,
)
from medseg.io.dicom.pixels import raw_pixels
from medseg.io.dicom.placing import SAME_PLACE_MM, on_grid, placed
from medseg.io.dicom.series import SeriesVolume
from medseg.limits import MAX_MASK_VOXELS

if TYPE_CHECKING:
    from pydicom import Dataset

Kind = Literal["BINARY", "LABELMAP"]

_FAMILY = CodedName("123109", "Artificial Intelligence", "DCM")


def write(
    labels: Array,
    volume: SeriesVolume,
    classes: ClassList,
    path: Path,
    *,
    algorithm: tuple[str, str],
    kind: Kind = "BINARY",
    sources: Sequence[Dataset] | None = None,
) -> None:
    """Write class indices (X, Y, Z) uint8 on a series's grid as a SEG, its name and version in ``algorithm``.

    With overlapping masks the indices are their bits. UIDs are made from the content, dates are the series's:
    the same label map gives the same bytes. ``sources`` are the series's data sets, where they are read
    already. The file is kept only if what is read back from it lies where the label map does: otherwise
    SEG_FAILED. Raises SEG_IMPOSSIBLE.
    """
    if volume.grid is None or labels.shape != volume.grid.shape:
        details = f"a label map of {labels.shape} on a series of {volume.grid and volume.grid.shape}"
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "give a label map on the series's grid")
    if volume.no_seg:
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, volume.no_seg, "use the NIfTI label map")
    if kind == "LABELMAP" and classes.multilabel:
        details = "masks that may overlap do not fit one LABELMAP"
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "write a BINARY segmentation")
    masks = _masks(labels, classes)
    if not masks.any():
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, "no voxel is in any class", "an empty SEG is not valid")
    with refused_by_kind("the series cannot carry a segmentation", path):
        sources = source_datasets(volume) if sources is None else sources
        segmentation = _segmentation(masks, volume, classes, algorithm, kind, sources)
    with files.written_aside(path) as part:
        segmentation.save_as(part, enforce_file_format=True)
        _compare(read(part, volume.grid, len(masks)), masks, path)


def reason_against(
    volume: SeriesVolume, classes: ClassList, *, kind: Kind = "BINARY", sources: Sequence[Dataset]
) -> str:
    """The reason why no SEG of ``classes`` can refer to a volume; empty where one can.

    One of a single voxel is made in memory, so that everything is asked that the real one needs.
    """
    if volume.grid is None:
        return "it is no volume"
    if volume.no_seg:
        return volume.no_seg
    masks = np.zeros((len(classes.foreground), *volume.grid.shape), bool)
    masks[(0, *(n // 2 for n in volume.grid.shape))] = True
    try:
        with refused_by_kind("the series cannot carry a segmentation", Path()):
            _segmentation(masks, volume, classes, ("trial", "0"), kind, sources)
    except MedsegError as error:
        return error.finding.details
    return ""


def _masks(labels: Array, classes: ClassList) -> Array:
    """Masks (K, X, Y, Z) bool of the foreground classes."""
    return np.stack([classes.holds(labels, index) for index in classes.foreground])


def _segmentation(
    masks: Array,
    volume: SeriesVolume,
    classes: ClassList,
    algorithm: tuple[str, str],
    kind: Kind,
    sources: Sequence[Dataset],
) -> Any:
    import highdicom as hd

    if volume.grid is None:
        raise ValueError("a refused volume has no grid")
    content = hashlib.sha256(np.packbits(masks).tobytes())
    coded = [codes_of(classes.classes[index]) for index in classes.foreground]
    content.update(repr((volume.header.series_uid, volume.label, classes.names, algorithm, kind)).encode())
    content.update(repr(coded).encode())
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=placed(
            masks.transpose(3, 2, 1, 0).astype(np.uint8),
            volume.grid,
            sources[0].FrameOfReferenceUID,
            {"SegmentNumber": list(range(1, len(masks) + 1))},
        ),
        segmentation_type=kind,
        segment_descriptions=_descriptions(classes, algorithm),
        series_instance_uid=content_uid(content.hexdigest(), "series"),
        series_number=series_number(volume),
        sop_instance_uid=content_uid(content.hexdigest(), "instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm[0][:64],
        software_versions=algorithm[1][:64],
        device_serial_number="1",
        content_label="SEGMENTATION",
        series_description=f"{algorithm[0]} segmentation"[:64],
        omit_empty_frames=kind == "BINARY",
    )
    segmentation.ContentCreatorName = ""  # of type 2: it must stand there
    set_dates(segmentation, sources[0], content.hexdigest())
    return segmentation


def _descriptions(classes: ClassList, algorithm: tuple[str, str]) -> Sequence[Any]:
    import highdicom as hd

    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm[0][:64], family=dicom_code(_FAMILY), version=algorithm[1][:64]
    )
    descriptions = []
    for number, index in enumerate(classes.foreground, 1):
        row = classes.classes[index]
        codes = codes_of(row)
        description = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=row.name[:64],
            segmented_property_category=dicom_code(codes.category),
            segmented_property_type=dicom_code(codes.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=identification,
            display_color=hd.color.CIELabColor.from_rgb(*row.colour),
        )
        if codes.modifier is not None:
            modifier = hd.sr.CodedConcept.from_code(dicom_code(codes.modifier))
            item = description.SegmentedPropertyTypeCodeSequence[0]
            item.SegmentedPropertyTypeModifierCodeSequence = [modifier]
        descriptions.append(description)
    return descriptions


def read(path: Path, grid: Grid, count: int | None = None) -> Array:
    """Read a SEG's segments onto ``grid``: masks (K, X, Y, Z) bool, K segments or ``count``.

    Each frame's own position and orientation says where it lies. Raises GRID_MISMATCH for a frame that does
    not lie on a slice of the grid within 0.01 mm, DICOM_DAMAGED for a file that is no readable SEG, and
    SYNTAX_UNSUPPORTED.
    """
    masks: Array | None = None
    for numbers, number, z, cut in frames_on(path, grid, path):
        if masks is None:
            _check_size(count or max(numbers), grid, path)
            masks = np.zeros((count or max(numbers), *grid.shape), bool)
        if not 0 < number <= len(masks):
            details = "a frame of a segment that is not described"
            raise MedsegError(Code.DICOM_DAMAGED, path, details, "write it again")
        masks[number - 1, :, :, z] |= cut
    return np.zeros((count or 1, *grid.shape), bool) if masks is None else masks


def _check_size(segments: int, grid: Grid, path: Path) -> None:
    """Refuse masks that would take too much memory: TOO_LARGE."""
    if segments * math.prod(grid.shape) > MAX_MASK_VOXELS:
        details = f"{segments} segments on {math.prod(grid.shape)} voxels"
        raise MedsegError(Code.TOO_LARGE, path, details, "give a segmentation of fewer segments")


def frames_on(
    source: Path | BinaryIO, grid: Grid, where: Path, tolerance_mm: float = SAME_PLACE_MM
) -> Iterator[tuple[tuple[int, ...], int, int, Array]]:
    """Yield a SEG's frames on ``grid``: all segments' numbers, the frame's, its slice z, a mask (X, Y).

    A frame of a LABELMAP is yielded once for each segment. Frames that were left out, being empty, are not
    yielded. Raises as :func:`read` does, naming ``where``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = _opened(source)
            claims.check_pixel_data(dataset, [claims.frame_count(dataset, where) - 1], where)
            frames = np.atleast_3d(raw_pixels(dataset))
            if int(dataset.NumberOfFrames) == 1:
                frames = frames.reshape(1, int(dataset.Rows), int(dataset.Columns))
        numbers = tuple(int(item.SegmentNumber) for item in dataset.SegmentSequence)
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        labelmap = dataset.SegmentationType == "LABELMAP"
        for frame, own in zip(frames, groups, strict=True):
            z, cut = on_grid(frame, own, shared, grid, where, tolerance_mm)
            if labelmap:
                yield from ((numbers, number, z, cut == number) for number in numbers if number > 0)
            else:
                identified = own.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
                yield numbers, int(identified[0].ReferencedSegmentNumber), z, cut.astype(bool)
    except MedsegError:
        raise
    except RuntimeError as error:  # of the decoders: NotImplementedError, or all of them failed
        details = f"its pixels cannot be decoded here ({type(error).__name__})"
        raise MedsegError(Code.SYNTAX_UNSUPPORTED, where, details, "save it uncompressed") from None
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"no readable segmentation ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, where, details, "write it again") from None


def _opened(source: Path | BinaryIO) -> Dataset:
    """Read a data set from a file, perhaps compressed, or from an open one, with the limits of exports."""
    import pydicom

    if isinstance(source, Path):
        with DicomFile(source).open() as stream:
            return pydicom.dcmread(stream)
    return pydicom.dcmread(source)


def _compare(read_back: Array, masks: Array, path: Path) -> None:
    if not np.array_equal(read_back, masks):
        wrong = int(np.count_nonzero(read_back != masks))
        details = f"{wrong} voxels differ when the segmentation is read back"
        raise MedsegError(Code.SEG_FAILED, path, details, "use the NIfTI label map")
