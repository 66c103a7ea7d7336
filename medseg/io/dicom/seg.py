"""DICOM SEG: label maps as segmentation objects of the series they were made from, read back before kept."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io.dicom import claims
from medseg.io.dicom.codes import ClassCode, codes_of
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.objects import MANUFACTURER, content_uid, series_number, set_dates, source_datasets
from medseg.io.dicom.series import SeriesVolume
from medseg.limits import MAX_MASK_VOXELS

if TYPE_CHECKING:
    from pydicom import Dataset

Kind = Literal["BINARY", "LABELMAP"]

SAME_PLACE_MM = 0.01
"""Largest distance in space between a voxel of a label map and that of the SEG that is read back."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write(
    labels: Array,
    volume: SeriesVolume,
    classes: ClassList,
    path: Path,
    *,
    algorithm: tuple[str, str],
    kind: Kind = "BINARY",
) -> None:
    """Write class indices (X, Y, Z) uint8 on a series's grid as a SEG, its name and version in ``algorithm``.

    With overlapping masks the indices are their bits. UIDs are made from the content, dates are the series's:
    the same label map gives the same bytes. The file is kept only if what is read back from it lies where
    the label map does. Raises SEG_IMPOSSIBLE.
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmentation = _segmentation(masks, volume, classes, algorithm, kind)
    except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
        details = (
            f"the series cannot carry a segmentation ({type(error).__name__})"  # its text may quote a name
        )
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "use the NIfTI label map") from error
    with files.written_aside(path) as part:
        segmentation.save_as(part, enforce_file_format=True)
        _compare(read(part, volume.grid, len(masks)), masks, path)


def _masks(labels: Array, classes: ClassList) -> Array:
    """Masks (K, X, Y, Z) bool of the foreground classes."""
    return np.stack([classes.holds(labels, index) for index in classes.foreground])


def _segmentation(
    masks: Array, volume: SeriesVolume, classes: ClassList, algorithm: tuple[str, str], kind: Kind
) -> Any:
    import highdicom as hd

    if volume.grid is None:
        raise ValueError("a refused volume has no grid")
    content = hashlib.sha256(np.packbits(masks).tobytes())
    content.update(repr((volume.header.series_uid, volume.label, classes.names, algorithm, kind)).encode())
    sources = source_datasets(volume)
    frames = masks.transpose(3, 2, 1, 0)  # slices, rows, columns, segments
    affine = _LPS_TO_RAS @ volume.grid.affine
    # highdicom's volumes run (slices, rows, columns)
    placed = affine[:, [2, 1, 0, 3]]
    pixels = hd.Volume(
        frames.astype(np.uint8),
        placed,
        coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
        channels={"SegmentNumber": list(range(1, len(masks) + 1))},
    )
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
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
    set_dates(segmentation, sources[0], content.hexdigest())
    return segmentation


def _descriptions(classes: ClassList, algorithm: tuple[str, str]) -> Sequence[Any]:
    import highdicom as hd
    from pydicom.sr.coding import Code as DicomCode

    def coded(code: ClassCode) -> Any:
        return DicomCode(code.value, code.scheme, code.meaning)

    family = DicomCode("123109", "DCM", "Artificial Intelligence")
    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm[0][:64], family=family, version=algorithm[1][:64]
    )
    descriptions = []
    for number, index in enumerate(classes.foreground, 1):
        row = classes.classes[index]
        category, property_type = codes_of(row.name)
        descriptions.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=row.name[:64],
                segmented_property_category=coded(category),
                segmented_property_type=coded(property_type),
                algorithm_type="AUTOMATIC",
                algorithm_identification=identification,
                display_color=hd.color.CIELabColor.from_rgb(*row.colour),
            )
        )
    return descriptions


def read(path: Path, grid: Grid, count: int | None = None) -> Array:
    """Read a SEG's segments onto ``grid``: masks (K, X, Y, Z) bool, K segments or ``count``.

    Each frame's own position and orientation says where it lies. Raises GRID_MISMATCH for a frame that does
    not lie on a slice of the grid within 0.01 mm, and DICOM_DAMAGED for a file that is no readable SEG.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _masks_of(path, grid, count)
    except MedsegError:
        raise
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"no readable segmentation ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, path, details, "write it again") from None


def _masks_of(path: Path, grid: Grid, count: int | None) -> Array:
    import pydicom
    from pydicom.pixels.utils import pixel_array

    with DicomFile(path).open() as stream:
        dataset = pydicom.dcmread(stream)
    claims.check_pixel_data(dataset, [claims.frame_count(dataset, path) - 1], path)
    frames = np.atleast_3d(pixel_array(dataset, raw=True))
    if int(dataset.NumberOfFrames) == 1:
        frames = frames.reshape(1, int(dataset.Rows), int(dataset.Columns))
    numbers = [int(item.SegmentNumber) for item in dataset.SegmentSequence]
    if (count or max(numbers)) * math.prod(grid.shape) > MAX_MASK_VOXELS:
        details = f"{max(numbers)} segments on {math.prod(grid.shape)} voxels"
        raise MedsegError(Code.TOO_LARGE, path, details, "give a segmentation of fewer segments")
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    masks = np.zeros((count or max(numbers), *grid.shape), bool)
    labelmap = dataset.SegmentationType == "LABELMAP"
    for frame, own in zip(frames, groups, strict=True):
        z, columns, rows = _place(own, shared, frame.shape, grid, path)
        cut = np.zeros(grid.shape[:2], frame.dtype)
        cut[np.ix_(columns, rows)] = frame.T
        if labelmap:
            for number in numbers:
                if 0 < number <= len(masks):
                    masks[number - 1, :, :, z] |= cut == number
        else:
            number = int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            if not 0 < number <= len(masks):
                raise ValueError("a frame of a segment that is not described")
            masks[number - 1, :, :, z] |= cut.astype(bool)
    return masks


def _place(
    own: Dataset, shared: Dataset, shape: tuple[int, ...], grid: Grid, path: Path
) -> tuple[int, Array, Array]:
    """The slice of the grid on which a frame lies, and the grid's index of each of its columns and rows."""

    def group(name: str) -> Any:
        return (own.get(name) or shared.get(name))[0]

    position = np.array(group("PlanePositionSequence").ImagePositionPatient, float)
    cosines = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = np.array(group("PixelMeasuresSequence").PixelSpacing, float)
    to_ras = _LPS_TO_RAS[:3, :3]
    first = to_ras @ position
    along_columns = to_ras @ cosines[:3] * spacing[1]
    along_rows = to_ras @ cosines[3:] * spacing[0]
    inverse = np.linalg.inv(grid.affine)
    corners = np.stack(
        [
            first,
            first + along_columns * (shape[1] - 1),
            first + along_rows * (shape[0] - 1),
        ]
    )
    indices = corners @ inverse[:3, :3].T + inverse[:3, 3]
    whole = np.rint(indices)
    off = np.abs((indices - whole) @ grid.affine[:3, :3].T).max()
    flat = (
        whole[0, 2] == whole[1, 2] == whole[2, 2]
        and whole[0, 1] == whole[1, 1]
        and whole[0, 0] == whole[2, 0]
    )
    inside = bool((whole >= 0).all()) and bool((whole < np.array(grid.shape)).all())
    if off > SAME_PLACE_MM or not flat or not inside:
        details = f"a frame of the segmentation lies {off:.3g} mm off the slices, or outside of them"
        raise MedsegError(Code.GRID_MISMATCH, path, details, "give the segmentation of this series")
    columns = np.linspace(whole[0, 0], whole[1, 0], shape[1]).astype(int)
    rows = np.linspace(whole[0, 1], whole[2, 1], shape[0]).astype(int)
    return int(whole[0, 2]), columns, rows


def _compare(read_back: Array, masks: Array, path: Path) -> None:
    if not np.array_equal(read_back, masks):
        wrong = int(np.count_nonzero(read_back != masks))
        details = f"{wrong} voxels differ when the segmentation is read back"
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "use the NIfTI label map")
