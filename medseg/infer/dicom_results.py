"""Results of a DICOM series as DICOM: a segmentation object and a report of volumes beside the label map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.infer import results
from medseg.infer.results import Result
from medseg.io.dicom import seg, sr
from medseg.io.dicom.series import SeriesVolume
from medseg.mask_bits import pack_masks
from medseg.model.description import Description

_HASHES = "dicom_sha256"


def write(result: Result, series: SeriesVolume, description: Description, label: Path) -> dict[str, Any]:
    """Write `<case>.seg.dcm` and `<case>.sr.dcm`; give what `<case>.json` says of them.

    A series that cannot carry a segmentation loses nothing else: the reason stands in `seg` instead.
    """
    classes, algorithm = description.class_list(), (description.name, medseg.__version__)
    segmentation, report = _paths(label)
    try:
        seg.write(_indices(result, classes), series, classes, segmentation, algorithm=algorithm)
        sr.write(result.sizes, segmentation, series, classes, report, algorithm=algorithm)
    except MedsegError as error:
        if error.code is Code.DISK_FULL:
            raise
        for path in (segmentation, report):
            path.unlink(missing_ok=True)
        return {"seg": f"{error.code}: {error.finding.details}", _HASHES: {}}
    return {"seg": "done", _HASHES: {path.name: files.sha256(path) for path in (segmentation, report)}}


def are_whole(label: Path, metadata: Mapping[str, Any]) -> bool:
    """True if every DICOM file that a result's JSON tells of is there as it was written; of none, True."""
    hashes: Mapping[str, str] = metadata.get(_HASHES, {})
    paths = {label.with_name(name): sha256 for name, sha256 in hashes.items()}
    return all(path.is_file() and files.sha256(path) == sha256 for path, sha256 in paths.items())


def hashes_in(json_path: Path) -> dict[str, str]:
    """The sha256 of each DICOM file that a result's JSON names, by file name; of an unreadable JSON none."""
    try:
        hashes = files.read_json(json_path).get(_HASHES, {}).items()
    except (OSError, ValueError, AttributeError):
        return {}
    return {str(name): str(sha256) for name, sha256 in hashes if Path(name).name == name}


def _paths(label: Path) -> tuple[Path, Path]:
    case = results.case_of(label)
    return label.with_name(f"{case}.seg.dcm"), label.with_name(f"{case}.sr.dcm")


def _indices(result: Result, classes: ClassList) -> Array:
    """Class indices, or bits of masks, (X, Y, Z) uint8 of a result's label maps."""
    if classes.multilabel:
        return pack_masks(result.labels.array)
    return classes.as_written().to_indices(result.labels.array[0], "label map")
