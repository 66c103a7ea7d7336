"""A segmented case and its files: written together, found again, and described in tables.

A result is the label map `<case>.nii.gz`, or `<case>.png` of an image, its confidence map, probabilities, map
of objects and figure where they are asked for, the DICOM objects of a DICOM series, and `<case>.json`, which
says what the label map was made from and holds its sha256. Where masks may overlap there is a
`<case>_<mask>` for each instead of the label map, whose path still names the result; `masks` are their names.
"""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, Finding, MedsegError
from medseg.infer import label_tables
from medseg.infer.quality import Judgement
from medseg.ingest import label_names
from medseg.io import nifti, png
from medseg.names import check_name
from medseg.volume import Volume

ENDINGS = {"mm": ".nii.gz", "px": png.SUFFIX}
"""Suffix of a label map's name, by the unit of the scan's or image's grid."""

_TIFF_ENDINGS = {"mm": ".nii.gz", "px": ".tif"}
"""Suffix of a map that no PNG holds, probabilities or objects, by the unit of the grid."""

SIZE_UNITS = {"mm": "ml", "px": "px"}
"""Unit of sizes, by the unit of the grid."""

_PROGRAM_FILE = re.compile(r"(labels|run|stage)(_case)*", re.IGNORECASE)
"""Names, without `.json`, of the program's own files beside results, and of cases that are called so."""

_TO_REVIEW = {
    *(Code.EMPTY_PREDICTION, Code.OUT_OF_DOMAIN, Code.BRAIN_EXTRACTED),
    *(Code.IMPLAUSIBLE, Code.LOW_QUALITY),
}
"""Notes with which a result needs review."""

HASHES = "files_sha256"
"""Key of a result's JSON: name and sha256 of each file that was written beside its label map."""

_RESULT_KEYS = frozenset({"sizes", "size_unit", "quality", "needs_review", "notes", "seconds"})


@dataclass(frozen=True)
class Result:
    """A case's label map in file values on the scan's own grid, with its sizes, quality and notes.

    `labels` is (1, X, Y, Z), or (L, X, Y, Z) of 0 and 1 where L masks may overlap; `confidence` is (1, X, Y,
    Z) float32; `probabilities` (K, X, Y, Z) uint8 are those of each class or mask in steps of 1/255, see
    :mod:`medseg.infer.probability_maps`; `instances` (1, X, Y, Z) are the numbers of objects; `seconds` are
    those of each step; `scan` (C, X, Y, Z) is what was segmented.
    """

    labels: Volume
    confidence: Volume | None
    sizes: dict[str, float]
    quality: float
    quality_kind: str
    seconds: dict[str, float]
    notes: tuple[Finding, ...]
    scan: Volume | None = None
    judgement: Judgement = field(default_factory=Judgement)
    probabilities: Volume | None = None
    instances: Volume | None = None

    def to_json(self) -> dict[str, Any]:
        """The part of `<case>.json` that describes the result."""
        return {
            "sizes": {k: round(v, 4) for k, v in self.sizes.items()},
            "size_unit": SIZE_UNITS[self.labels.grid.unit],
            "quality": round(self.quality, 6),
            "quality_kind": self.quality_kind,
            **self.judgement.to_json(),
            "needs_review": bool({f.code for f in self.notes} & _TO_REVIEW),
            "notes": [{"code": str(f.code), "details": f.details} for f in self.notes],
            "seconds": {k: round(v, 2) for k, v in self.seconds.items()},
        }


# Names


def label_map(folder: Path, case: str, unit: str) -> Path:
    """The path of a case's label map, whose grid is measured in `unit` (mm or px); raises NAME_INVALID."""
    return folder / f"{check_name(case, folder)}{ENDINGS[unit]}"


def maps(folder: Path) -> list[Path]:
    """All maps of results below a folder, those of probabilities too, in order, without unfinished ones."""
    patterns = (
        *(f"*{ending}" for ending in ENDINGS.values()),
        *(
            f"*{ending}{_TIFF_ENDINGS['px']}"
            for ending in (label_names.PROBABILITIES_ENDING, label_names.INSTANCES_ENDING)
        ),
    )
    return sorted(path for pattern in patterns for path in _finished(folder, pattern))


def case_of(label: Path) -> str:
    """The case whose label map this is."""
    return label.name.removesuffix(_ending(label))


def confidence_path(label: Path) -> Path:
    """The path of the confidence map of a label map."""
    return label.with_name(case_of(label) + label_names.CONFIDENCE_ENDING + _ending(label))


def probabilities_path(label: Path) -> Path:
    """The path of the probabilities beside a label map: a NIfTI, of an image a TIFF with a page for each."""
    return _tiff_beside(label, label_names.PROBABILITIES_ENDING)


def instances_path(label: Path) -> Path:
    """The path of the map of objects beside a label map: a NIfTI, of an image a TIFF."""
    return _tiff_beside(label, label_names.INSTANCES_ENDING)


def _tiff_beside(label: Path, end: str) -> Path:
    unit = next(unit for unit, ending in ENDINGS.items() if label.name.endswith(ending))
    return label.with_name(case_of(label) + end + _TIFF_ENDINGS[unit])


def figure_path(label: Path) -> Path:
    """The path of the figure of a label map."""
    return label.with_name(f"{case_of(label)}{label_names.FIGURE_ENDING}.png")


def dicom_paths(label: Path) -> dict[str, Path]:
    """The paths of a label map's DICOM objects: segmentation (`seg`), report (`sr`) and confidence (`pm`)."""
    endings = {"seg": "seg", "sr": "sr", "pm": "confidence"}
    return {kind: label.with_name(f"{case_of(label)}.{ending}.dcm") for kind, ending in endings.items()}


def probability_map_path(label: Path, index: int) -> Path:
    """The path of the parametric map of a class's probability; ``index`` is its place in `labels.json`."""
    return label.with_name(f"{case_of(label)}.probability_{index}.dcm")


def dicom_files(label: Path) -> list[Path]:
    """The paths that DICOM objects of a result may have; of maps of probabilities those that are there."""
    maps = label.parent.glob(f"{glob.escape(case_of(label))}.probability_*.dcm")
    return [*dicom_paths(label).values(), *sorted(maps)]


def metadata_path(label: Path) -> Path:
    """The path of a label map's JSON: `<case>.json`.

    Of a case called like the program's own files, `labels`, `run` or `stage`, it is `labels_case.json`, and
    of one called `labels_case` `labels_case_case.json`, so that no two files have one name.
    """
    case = case_of(label)
    return label.with_name(case + ("_case" if _PROGRAM_FILE.fullmatch(case) else "") + ".json")


def metadata_files(folder: Path) -> dict[Path, str]:
    """The JSON files of results below a folder, in order, each with its case."""
    cases = {}
    for path in sorted(_finished(folder, "*.json")):
        if not _PROGRAM_FILE.fullmatch(path.stem):
            cases[path] = path.stem
        elif path.stem.lower().endswith("_case"):
            cases[path] = path.stem[: -len("_case")]
    return cases


def label_files(label: Path, masks: Sequence[str] = ()) -> tuple[Path, ...]:
    """The files of a result's label map: itself, or one for each mask."""
    return tuple(label.with_name(f"{case_of(label)}_{mask}{_ending(label)}") for mask in masks) or (label,)


def files_of(label: Path, masks: Sequence[str] = ()) -> tuple[Path, ...]:
    """Every file of a result: its JSON, its label map or masks, and the maps beside it."""
    beside = (confidence_path(label), probabilities_path(label), instances_path(label))
    return metadata_path(label), *label_files(label, masks), *beside


def require_own_files(labels: Mapping[Path, str], masks: Sequence[str] = ()) -> None:
    """Raise DUPLICATE_CASE where the results of two cases would have files of one name.

    `labels` gives the case of each label map's path.
    """
    owners: dict[Path, str] = {}
    for label, case in labels.items():
        for path in files_of(label, masks):
            if owners.setdefault(path, case) != case:
                details = f"cases {owners[path]} and {case} would both have the file {path.name}"
                raise MedsegError(Code.DUPLICATE_CASE, path.parent, details, "rename one of the cases")


def _ending(label: Path) -> str:
    return next(ending for ending in ENDINGS.values() if label.name.endswith(ending))


def _finished(folder: Path, pattern: str) -> list[Path]:
    below = [(path, path.relative_to(folder).parts) for path in folder.rglob(pattern)]
    return [path for path, parts in below if not any(files.is_part(Path(part)) for part in parts)]


# Writing and finding again


def write(
    result: Result,
    classes: ClassList,
    label: Path,
    key: str,
    case_info: Mapping[str, Any],
    beside: Callable[[Path], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write a result's label map, the maps beside it and its JSON together, and give what the JSON holds.

    After them `beside` writes further files of the case next to the path of a label map that it is given, and
    says what the JSON tells of them: all files take their places together.

    Label maps are NIfTI, or of an image PNG with the classes' colours; confidence maps of images are 16-bit
    PNG (1 as 65535), maps of objects TIFF. Probabilities are uint8 with a slope, of images the pages of a
    TIFF. `key` is the hash of what the result was made from, `case_info` comes before the rest in the JSON.
    Files that an earlier result left are removed where there are none now. Where writing fails, an earlier
    result stays whole.
    Raises DISK_FULL.
    """
    started, masks = time.monotonic(), classes.masks
    json_path = metadata_path(label)
    earlier = [confidence_path(label), probabilities_path(label), instances_path(label), *_recorded(label)]
    if beside:
        earlier += [figure_path(label), *dicom_files(label)]
    with files.written_together(label.parent, json_path.name, without=earlier) as folder:
        staged = folder / label.name
        for index, (path, array) in enumerate(
            zip(label_files(staged, masks), result.labels.array, strict=True)
        ):
            volume = result.labels.with_array(array[None])
            if volume.grid.unit == "px":
                png.write_labels(volume, classes.of_mask(index) if classes.multilabel else classes, path)
            else:
                nifti.write(volume, path)
        if result.confidence is not None:
            save = png.write_share if result.confidence.grid.unit == "px" else nifti.write
            save(result.confidence, confidence_path(staged))
        metadata = {**case_info, **(beside(staged) if beside else {}), **result.to_json()}
        if result.probabilities is not None:
            path = _write_probabilities(result.probabilities, staged)
            metadata["probabilities"] = list(classes.names)
            metadata[HASHES] = {**metadata.get(HASHES, {}), path.name: files.sha256(path)}
        if result.instances is not None:
            path = _write_instances(result.instances, staged)
            metadata["objects"] = int(result.instances.array.max())
            metadata[HASHES] = {**metadata.get(HASHES, {}), path.name: files.sha256(path)}
        metadata["seconds"] |= {"write": round(time.monotonic() - started, 2)}
        metadata |= {"made_from": key, "sha256": _sha256(staged, masks)}
        files.write_json(folder / json_path.name, metadata)
    return metadata


def _write_probabilities(probabilities: Volume, label: Path) -> Path:
    """Write probabilities beside the path of a label map; give the path of their file."""
    path = probabilities_path(label)
    save = png.write_pages if probabilities.grid.unit == "px" else nifti.write_steps
    save(probabilities, path)
    return path


def _write_instances(instances: Volume, label: Path) -> Path:
    """Write a map of objects beside the path of a label map; give the path of its file."""
    path = instances_path(label)
    save = png.write_numbers if instances.grid.unit == "px" else nifti.write
    save(instances, path)
    return path


def _recorded(label: Path) -> list[Path]:
    """The files beside a label map that its JSON tells of."""
    try:
        metadata = files.read_json(metadata_path(label))
    except (OSError, ValueError):
        return []
    known = {path.name: path for path in (figure_path(label), *dicom_files(label))}
    hashes = metadata.get(HASHES, {}) if isinstance(metadata, dict) else {}
    return [known[name] for name in hashes if name in known]


def are_whole(label: Path, metadata: Mapping[str, Any]) -> bool:
    """True if every file beside a label map that its JSON tells of is there as it was written."""
    hashes: Mapping[str, str] = metadata.get(HASHES, {})
    paths = {label.with_name(name): sha256 for name, sha256 in hashes.items()}
    return all(path.is_file() and files.sha256(path) == sha256 for path, sha256 in paths.items())


def write_label_names(folder: Path, classes: ClassList) -> None:
    """Write `labels.json`: value, name and colour of every class; and the same for ITK-SNAP and Slicer."""
    files.write_json(folder / "labels.json", classes.to_json())
    for name, text in label_tables.tables(classes).items():
        files.write_text(folder / name, text)


def is_there(label: Path, masks: Sequence[str] = ()) -> bool:
    """True if a result is there, whatever it was made from."""
    return all(path.is_file() for path in label_files(label, masks))


def cached_metadata(
    label: Path, key: str, *, confidence: bool = False, masks: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The JSON of a result that is there, whole and made from `key`; None if it must be made (again).

    A file that cannot be read as what :func:`write` writes counts as none, and so does a result of which a
    file beside the label map is not as it was written. With `confidence`, the confidence
    map must be there too.
    """
    if confidence and not confidence_path(label).is_file():
        return None
    return whole_metadata(label, key, masks)


def whole_metadata(label: Path, key: str | None = None, masks: Sequence[str] = ()) -> dict[str, Any] | None:
    """The JSON of a result that is there and whole, whatever it was made from, or made from `key`."""
    if not is_there(label, masks):
        return None
    try:
        metadata = files.read_json(metadata_path(label))
    except (OSError, ValueError):
        return None
    if (
        not isinstance(metadata, dict)
        or not metadata.keys() >= _RESULT_KEYS
        or (key is not None and metadata.get("made_from") != key)
    ):
        return None
    try:
        is_same = metadata.get("sha256") == _sha256(label, masks) and are_whole(label, metadata)
    except OSError:
        return None
    return metadata if is_same else None


def _sha256(label: Path, masks: Sequence[str]) -> str:
    """The label map's hash, or one of all masks' hashes."""
    hashes = [files.sha256(path) for path in label_files(label, masks)]
    return files.sha256_of_value(hashes) if masks else hashes[0]


# Tables


PREDICTED = "predicted_dice"
"""Column and key of the expected mean Dice; a class's column is `predicted_dice_<class>`."""


def table_columns(classes: ClassList, unit: str = "ml", *, calibrated: bool = False) -> list[str]:
    """The columns of `summary.csv` and `volumes.csv`; sizes stand in `unit`.

    With `calibrated`, those of the expected Dice are among them, which models with a calibration give.
    """
    sizes = [f"{name}_{unit}" for name in classes.foreground_names]
    dice = [PREDICTED, *(f"{PREDICTED}_{name}" for name in classes.foreground_names)] if calibrated else []
    quality = ("quality", *dice, "needs_review", "seconds")
    return [*("case", "file", "status", "code", "note"), *sizes, *quality]


def table_row(
    case: str,
    file: Path,
    status: str,
    metadata: Mapping[str, Any],
    finding: Finding | None,
    classes: ClassList,
) -> dict[str, Any]:
    """A case's row of `summary.csv` and `volumes.csv`, with the expected Dice where there is one.

    Of a case that a `finding` excluded, `metadata` holds the `size_unit` alone.
    """
    notes = metadata.get("notes", [])
    code = str(finding.code) if finding else " ".join(dict.fromkeys(n["code"] for n in notes))
    note = finding.details if finding else "; ".join(dict.fromkeys(n["details"] for n in notes))
    sizes = [metadata.get("sizes", {}).get(name) for name in classes.foreground_names]
    seconds = None if finding else round(sum(metadata["seconds"].values()), 2)
    quality = (metadata.get("quality"), metadata.get("needs_review"))
    columns = table_columns(classes, metadata.get("size_unit", "ml"))
    row = dict(zip(columns, (case, str(file), status, code, note, *sizes, *quality, seconds), strict=True))
    if PREDICTED in metadata:
        by_class = metadata[f"{PREDICTED}_by_class"]
        row[PREDICTED] = metadata[PREDICTED]
        row |= {f"{PREDICTED}_{name}": by_class.get(name) for name in classes.foreground_names}
    return row
