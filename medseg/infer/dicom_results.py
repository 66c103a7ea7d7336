"""Results of a DICOM series as DICOM beside its label map: segmentation, report of volumes, confidence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import medseg
from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.infer import results
from medseg.infer.results import Result
from medseg.io.dicom import pm, seg, sr
from medseg.io.dicom.objects import refused_by_kind, source_datasets
from medseg.io.dicom.series import SeriesVolume
from medseg.io.nifti_writer import FULL_STEPS
from medseg.mask_bits import pack_masks
from medseg.model.description import Description

if TYPE_CHECKING:
    from pydicom import Dataset

DONE = "done"


@dataclass(frozen=True, eq=False)
class Target:
    """A series that results refer to, its data sets, and the reason why it cannot carry a SEG, or none."""

    series: SeriesVolume
    sources: Sequence[Dataset]
    kind: seg.Kind
    reason: str


def prepare(series: SeriesVolume, description: Description, kind: seg.Kind) -> Target:
    """Find out before a network runs if a series can carry a SEG of this kind."""
    try:
        with refused_by_kind("its files cannot be referred to", Path()):
            sources = source_datasets(series)
    except MedsegError as error:
        return Target(series, (), kind, error.finding.details)
    reason = seg.reason_against(series, description.class_list(), kind=kind, sources=sources)
    return Target(series, sources, kind, reason)


def write(result: Result, target: Target, description: Description, label: Path) -> dict[str, Any]:
    """Write the DICOM objects of a result next to the path of its label map; give what its JSON tells.

    Key `seg` is `done`, or begins with SEG_IMPOSSIBLE where the series or an empty label map allows none, or
    with SEG_FAILED where writing or reading back failed: then no object is left, and nothing else is lost.
    """
    reason = target.reason or ("" if any(result.sizes.values()) else "no voxel is in any class")
    if reason:
        return {"seg": f"{Code.SEG_IMPOSSIBLE}: {reason}"}
    try:
        _write(result, target, description, label)
    except (MedsegError, MemoryError) as error:
        for path in results.dicom_files(label):
            path.unlink(missing_ok=True)
        return {"seg": f"{Code.SEG_FAILED}: {_words(error)}"}
    written = [path for path in results.dicom_files(label) if path.is_file()]
    return {"seg": DONE, results.HASHES: {path.name: files.sha256(path) for path in written}}


def has_failed(metadata: Mapping[str, Any]) -> bool:
    """True for a result whose DICOM objects could not be written: the next run tries again."""
    return str(metadata.get("seg", "")).startswith(Code.SEG_FAILED)


def hashes_in(json_path: Path) -> dict[str, str]:
    """The sha256 of each DICOM file that a result's JSON names, by file name; of an unreadable JSON none."""
    try:
        hashes = files.read_json(json_path).get(results.HASHES, {}).items()
    except (OSError, ValueError, AttributeError):
        return {}
    return {
        str(name): str(sha256) for name, sha256 in hashes if Path(name).name == name and name.endswith(".dcm")
    }


def is_impossible(metadata: Mapping[str, Any]) -> bool:
    """True for a result without DICOM objects because of its series or its empty label map."""
    return str(metadata.get("seg", "")).startswith(Code.SEG_IMPOSSIBLE)


def _write(result: Result, target: Target, description: Description, label: Path) -> None:
    paths = results.dicom_paths(label)
    classes, algorithm = description.class_list(), (description.name, medseg.__version__)
    series, sources = target.series, target.sources
    seg.write(
        _indices(result, classes),
        series,
        classes,
        paths["seg"],
        algorithm=algorithm,
        kind=target.kind,
        sources=sources,
    )
    sr.write(result.sizes, paths["seg"], series, classes, paths["sr"], algorithm=algorithm, sources=sources)
    if result.confidence is not None:
        pm.write(result.confidence.array[0], series, paths["pm"], algorithm=algorithm, sources=sources)
    if result.probabilities is not None:
        _write_probabilities(result.probabilities.array, target, classes, label, algorithm)


def _write_probabilities(
    steps: Array, target: Target, classes: ClassList, label: Path, algorithm: tuple[str, str]
) -> None:
    """Write a parametric map for each class or mask from steps (K, X, Y, Z) uint8 of 1/255.

    All are of one series, and one is made after another: as float32 they would need K times as much memory.
    """
    content = hashlib.sha256()
    for one in steps:
        content.update(one.tobytes())
    for index, (name, one) in enumerate(zip(classes.names, steps, strict=True)):
        pm.write(
            one.astype(np.float32) / np.float32(FULL_STEPS),
            target.series,
            results.probability_map_path(label, index),
            algorithm=algorithm,
            sources=target.sources,
            quantity=pm.probability_of(name, index, content.hexdigest()),
        )


def _words(error: MedsegError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "the machine ran out of memory"
    own = error.code in (Code.SEG_FAILED, Code.SEG_IMPOSSIBLE)
    return error.finding.details if own else f"{error.code}, {error.finding.details}"


def _indices(result: Result, classes: ClassList) -> Array:
    """Class indices, or bits of masks, (X, Y, Z) uint8 of a result's label maps."""
    if classes.multilabel:
        return pack_masks(result.labels.array)
    return classes.as_written().to_indices(result.labels.array[0], "label map")
