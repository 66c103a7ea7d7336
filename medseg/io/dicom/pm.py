"""DICOM parametric maps: confidence or a class's probability of each voxel, read back before it is kept."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
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

_ANY_REGION = CodedName("123037004", "Body structure")
_NO_UNITS = CodedName("1", "no units", "UCUM")


@dataclass(frozen=True)
class Quantity:
    """The meaning of a map's values, which lie in 0 to 1, and its place among the maps of its series."""

    label: str
    """At most 16 characters."""
    meaning: str
    coded: CodedName
    series_offset: int
    """The map's series number lies this far above the segmentation's."""
    number: int = 1
    series: str = ""
    """What the maps of one series have in common; empty for a series of this map alone."""


CONFIDENCE = Quantity(
    "CONFIDENCE",
    "Difference of the two highest probabilities",
    CodedName("CONFIDENCE", "Difference of the two highest probabilities", SCHEME),
    2_000_000,
)


def probability_of(class_name: str, index: int, series: str) -> Quantity:
    """Describe a class's probability; ``series`` is a hash of those of all classes."""
    coded = CodedName("PROBABILITY", "Probability of a class", SCHEME)
    meaning = f"Probability of {class_name}"[:64].replace("\\", "/")
    return Quantity("PROBABILITY", meaning, coded, 3_000_000, index + 1, series)


def write(
    values: Array,
    volume: SeriesVolume,
    path: Path,
    *,
    algorithm: tuple[str, str],
    sources: Sequence[Dataset] | None = None,
    quantity: Quantity = CONFIDENCE,
) -> None:
    """Write values (X, Y, Z) float32 in 0 to 1 on a series's grid as a parametric map.

    UIDs are made from the content, dates are the series's. The file is kept only if every voxel that is read
    back from it has its value in its place: otherwise SEG_FAILED. Raises SEG_IMPOSSIBLE.
    """
    if volume.grid is None or values.shape != volume.grid.shape or volume.no_seg:
        details = volume.no_seg or f"a map of {values.shape} on another grid than the series's"
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "use the NIfTI map")
    with refused_by_kind("no parametric map can be made", path):
        sources = source_datasets(volume) if sources is None else sources
        result = _map(np.ascontiguousarray(values, np.float32), volume, algorithm, sources, quantity)
    with files.written_aside(path) as part:
        result.save_as(part, enforce_file_format=True)
        if not np.array_equal(read(part, volume.grid), values.astype(np.float32)):
            details = "voxels differ when the parametric map is read back"
            raise MedsegError(Code.SEG_FAILED, path, details, "use the NIfTI map")


def _map(
    values: Array,
    volume: SeriesVolume,
    algorithm: tuple[str, str],
    sources: Sequence[Dataset],
    quantity: Quantity,
) -> Any:
    import highdicom as hd

    if volume.grid is None:
        raise ValueError("a refused volume has no grid")
    origin = (volume.header.series_uid, volume.label, algorithm)
    content = hashlib.sha256(values.tobytes())
    content.update(repr((*origin, quantity.coded, *((quantity,) if quantity.series else ()))).encode())
    digest = content.hexdigest()
    of_series = repr((*origin, quantity.series)).encode()
    series_digest = hashlib.sha256(of_series).hexdigest() if quantity.series else digest
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.meaning,
        unit=dicom_code(_NO_UNITS),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=dicom_code(quantity.coded),
    )
    result = hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=placed(values.transpose(2, 1, 0), volume.grid, sources[0].FrameOfReferenceUID),
        series_instance_uid=content_uid(series_digest, "map series"),
        series_number=series_number(volume) + quantity.series_offset,
        sop_instance_uid=content_uid(digest, "map"),
        instance_number=quantity.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm[0][:64],
        software_versions=algorithm[1][:64],
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label=quantity.label,
        content_description=quantity.meaning,
        series_description=f"{algorithm[0]} {quantity.label.lower()}"[:64],
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
