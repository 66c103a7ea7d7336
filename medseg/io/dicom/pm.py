"""DICOM parametric maps: the confidence of each voxel as an object of its series, read back before kept."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import files
from medseg.coding import CodedName
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.io.dicom.codes import SCHEME
from medseg.io.dicom.objects import (
    MANUFACTURER,
    content_uid,
    dicom_code,
    refused_by_kind,
    series_number,
    set_dates,
    source_datasets,
)
from medseg.io.dicom.placing import on_grid, placed
from medseg.io.dicom.series import SeriesVolume

if TYPE_CHECKING:
    from pydicom import Dataset

QUANTITY = CodedName("CONFIDENCE", "Difference of the two highest probabilities", SCHEME)
_ANY_REGION = CodedName("123037004", "Body structure")
_NO_UNITS = CodedName("1", "no units", "UCUM")

_SERIES_OFFSET = 2_000_000
"""The map's series number lies this far above the segmentation's."""


def write(
    confidence: Array,
    volume: SeriesVolume,
    path: Path,
    *,
    algorithm: tuple[str, str],
    sources: Sequence[Dataset] | None = None,
) -> None:
    """Write a confidence (X, Y, Z) float32 in 0 to 1 on a series's grid as a parametric map.

    UIDs are made from the content, dates are the series's. The file is kept only if every voxel that is read
    back from it has its value in its place: otherwise SEG_FAILED. Raises SEG_IMPOSSIBLE.
    """
    if volume.grid is None or confidence.shape != volume.grid.shape or volume.no_seg:
        details = volume.no_seg or f"a map of {confidence.shape} on another grid than the series's"
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "use the NIfTI confidence map")
    with refused_by_kind("no parametric map can be made", path):
        sources = source_datasets(volume) if sources is None else sources
        result = _map(np.ascontiguousarray(confidence, np.float32), volume, algorithm, sources)
    with files.written_aside(path) as part:
        result.save_as(part, enforce_file_format=True)
        if not np.array_equal(read(part, volume.grid), confidence.astype(np.float32)):
            details = "voxels differ when the parametric map is read back"
            raise MedsegError(Code.SEG_FAILED, path, details, "use the NIfTI confidence map")


def _map(
    confidence: Array, volume: SeriesVolume, algorithm: tuple[str, str], sources: Sequence[Dataset]
) -> Any:
    import highdicom as hd

    if volume.grid is None:
        raise ValueError("a refused volume has no grid")
    content = hashlib.sha256(confidence.tobytes())
    content.update(repr((volume.header.series_uid, volume.label, algorithm, QUANTITY)).encode())
    digest = content.hexdigest()
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="CONFIDENCE",
        lut_explanation=QUANTITY.meaning,
        unit=dicom_code(_NO_UNITS),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=dicom_code(QUANTITY),
    )
    result = hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=placed(confidence.transpose(2, 1, 0), volume.grid, sources[0].FrameOfReferenceUID),
        series_instance_uid=content_uid(digest, "map series"),
        series_number=series_number(volume) + _SERIES_OFFSET,
        sop_instance_uid=content_uid(digest, "map"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm[0][:64],
        software_versions=algorithm[1][:64],
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="CONFIDENCE",
        series_description=f"{algorithm[0]} confidence"[:64],
    )
    _store_along_normal(result)
    result.ContentCreatorName = ""  # of type 2: it must stand there
    result.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(sources[0])]
    set_dates(result, sources[0], digest)
    return result


def _store_along_normal(result: Any) -> None:
    """Store the frames in the order of their places along the normal.

    dcmqi takes them to lie so; the library may store them the other way round.
    """
    shared, own = result.SharedFunctionalGroupsSequence[0], list(result.PerFrameFunctionalGroupsSequence)
    orientation = (shared.get("PlaneOrientationSequence") or own[0].PlaneOrientationSequence)[0]
    cosines = np.array(orientation.ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    positions = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in own], float)
    order = np.argsort(positions @ normal, kind="stable")
    frames = np.frombuffer(result.FloatPixelData, "<f4").reshape(len(own), -1)
    result.FloatPixelData = frames[order].tobytes()
    result.PerFrameFunctionalGroupsSequence = [own[index] for index in order]
    for number, frame in enumerate(result.PerFrameFunctionalGroupsSequence, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = number


def _anatomy(source: Dataset) -> Dataset:
    """The part of the body as the source tells it, in the form that dcmqi and dciodvfy ask of a map."""
    import highdicom as hd
    from pydicom import Dataset as NewDataset

    shared = source.get("SharedFunctionalGroupsSequence") or [NewDataset()]
    if known := shared[0].get("FrameAnatomySequence"):
        return known[0]
    anatomy = NewDataset()
    laterality = source.get("ImageLaterality") or source.get("Laterality")
    anatomy.FrameLaterality = laterality if laterality in {"R", "L", "B"} else "U"  # unpaired
    region = source.get("AnatomicRegionSequence")
    anatomy.AnatomicRegionSequence = region or [hd.sr.CodedConcept.from_code(dicom_code(_ANY_REGION))]
    return anatomy


def read(path: Path, grid: Grid) -> Array:
    """Read a map of floats onto ``grid``: (X, Y, Z) float32, NaN where no frame lies.

    Raises GRID_MISMATCH for a frame off the grid's slices, and DICOM_DAMAGED.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
        shape = int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns)
        frames = np.frombuffer(dataset.FloatPixelData, "<f4")[: int(np.prod(shape))].reshape(shape)
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        shared = dataset.SharedFunctionalGroupsSequence[0]
    except (InvalidDicomError, AttributeError, ValueError, KeyError, OSError) as error:
        details = f"no readable parametric map ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, path, details, "write it again") from None
    values = np.full(grid.shape, np.nan, np.float32)
    for frame, own in zip(frames, groups, strict=True):
        z, values_of_slice = on_grid(frame, own, shared, grid, path)
        values[:, :, z] = values_of_slice
    return values
