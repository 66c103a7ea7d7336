"""Volumes of segments as a DICOM structured report (TID 1500) that refers to the segmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import files
from medseg.classes import Class, ClassList
from medseg.coding import ClassCodes, CodedName
from medseg.io.dicom.codes import codes_of
from medseg.io.dicom.objects import (
    MANUFACTURER,
    content_uid,
    dicom_code,
    refused_by_kind,
    series_number,
    set_dates,
    source_datasets,
)
from medseg.io.dicom.series import SeriesVolume

if TYPE_CHECKING:
    from pydicom import Dataset

_SERIES_OFFSET = 1_000_000
"""The report's series number lies this far above the segmentation's."""


_SIDES = {"7771000", "24028007", "51440002", "66459002"}
"""SNOMED CT codes of left, right, bilateral and unilateral (context group 244)."""


def write(
    volumes_ml: Mapping[str, float],
    segmentation: Path,
    volume: SeriesVolume,
    classes: ClassList,
    path: Path,
    *,
    algorithm: tuple[str, str],
    sources: Sequence[Dataset] | None = None,
) -> None:
    """Write each foreground class's volume (ml) as a measurement of its segment in the SEG ``segmentation``.

    UIDs are made from the content, dates are the series's. ``sources`` are its data sets, where they are read
    already. Raises SEG_IMPOSSIBLE.
    """
    with refused_by_kind("no structured report can be made", path):
        sources = source_datasets(volume) if sources is None else sources
        report = _report(volumes_ml, segmentation, volume, classes, algorithm, sources)
    with files.written_aside(path) as part:
        report.save_as(part, enforce_file_format=True)


def _report(
    volumes_ml: Mapping[str, float],
    segmentation: Path,
    volume: SeriesVolume,
    classes: ClassList,
    algorithm: tuple[str, str],
    sources: Sequence[Dataset],
) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    seg = hd.seg.segread(segmentation)
    content = hashlib.sha256(
        repr((str(seg.SOPInstanceUID), sorted(volumes_ml.items()), algorithm)).encode()
    ).hexdigest()
    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=content_uid(algorithm[0], "device"), name=algorithm[0][:64], manufacturer_name=MANUFACTURER
        ),
    )
    measured = hd.sr.AlgorithmIdentification(name=algorithm[0][:64], version=algorithm[1][:64])
    groups = [
        _group(seg, number, classes.classes[index], volumes_ml[classes.names[index]], measured, content)
        for number, index in enumerate(classes.foreground, 1)
    ]
    report = hd.sr.Comprehensive3DSR(
        evidence=[seg, *sources],
        content=hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=hd.sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
            imaging_measurements=groups,
        )[0],
        series_instance_uid=content_uid(content, "report series"),
        series_number=series_number(volume) + _SERIES_OFFSET,
        sop_instance_uid=content_uid(content, "report"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        series_description=f"{algorithm[0]} volumes"[:64],
    )
    set_dates(report, sources[0], content)
    return report


def _group(seg: Any, number: int, row: Class, volume_ml: float, measured: Any, content: str) -> Any:
    """The measurements of one segment: its volume."""
    import highdicom as hd

    codes = codes_of(row)
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=content_uid(content, f"segment {number}"), identifier=row.name[:64]
        ),
        # by the series, as a segment without a voxel and a LABELMAP have no frames of their own
        referenced_segment=hd.sr.ReferencedSegment(
            seg.SOPClassUID,
            seg.SOPInstanceUID,
            number,
            source_series=hd.sr.SourceSeriesForSegmentation(
                seg.ReferencedSeriesSequence[0].SeriesInstanceUID
            ),
        ),
        finding_type=dicom_code(codes.type),
        finding_category=dicom_code(codes.category),
        finding_sites=_sites(codes),
        algorithm_id=measured,
        measurements=[
            hd.sr.Measurement(
                name=dicom_code(CodedName("118565006", "Volume")),
                value=round(float(volume_ml), 4),
                unit=dicom_code(CodedName("ml", "milliliter", "UCUM")),
            )
        ],
    )


def _sites(codes: ClassCodes) -> list[Any] | None:
    """The side or part of the class's type, where its codes have a modifier."""
    import highdicom as hd

    if codes.modifier is None:
        return None
    place = "laterality" if codes.modifier.value in _SIDES else "topographical_modifier"
    return [hd.sr.FindingSite(dicom_code(codes.type), **{place: dicom_code(codes.modifier)})]
