"""Volumes of segments as a DICOM structured report (TID 1500) that refers to the segmentation."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.io.dicom.codes import ClassCode, codes_of
from medseg.io.dicom.objects import MANUFACTURER, content_uid, series_number, set_dates, source_datasets
from medseg.io.dicom.series import SeriesVolume

_SERIES_OFFSET = 1
"""The report's series number lies this far above the segmentation's."""


def write(
    volumes_ml: Mapping[str, float],
    segmentation: Path,
    volume: SeriesVolume,
    classes: ClassList,
    path: Path,
    *,
    algorithm: tuple[str, str],
) -> None:
    """Write each foreground class's volume (ml) as a measurement of its segment in the SEG ``segmentation``.

    UIDs are made from the content, dates are the series's. Raises SEG_IMPOSSIBLE.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = _report(volumes_ml, segmentation, volume, classes, algorithm)
    except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
        details = f"no structured report can be made ({type(error).__name__})"  # its text may quote a name
        raise MedsegError(Code.SEG_IMPOSSIBLE, path, details, "use the table of volumes") from error
    with files.written_aside(path) as part:
        report.save_as(part, enforce_file_format=True)


def _report(
    volumes_ml: Mapping[str, float],
    segmentation: Path,
    volume: SeriesVolume,
    classes: ClassList,
    algorithm: tuple[str, str],
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
        _group(hd, seg, number, classes.names[index], volumes_ml[classes.names[index]], measured, content)
        for number, index in enumerate(classes.foreground, 1)
    ]
    sources = source_datasets(volume)
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


def _group(hd: Any, seg: Any, number: int, name: str, volume_ml: float, measured: Any, content: str) -> Any:
    """The measurements of one segment: its volume."""
    from pydicom.sr.coding import Code as DicomCode

    def coded(code: ClassCode) -> Any:
        return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)

    category, property_type = codes_of(name)
    tracking = hd.sr.TrackingIdentifier(uid=content_uid(content, f"segment {number}"), identifier=name[:64])
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_segment=hd.sr.ReferencedSegment.from_segmentation(seg, number),
        finding_type=coded(property_type),
        finding_category=coded(category),
        algorithm_id=measured,
        measurements=[
            hd.sr.Measurement(
                name=DicomCode("118565006", "SCT", "Volume"),
                value=round(float(volume_ml), 4),
                unit=DicomCode("ml", "UCUM", "milliliter"),
            )
        ],
    )
