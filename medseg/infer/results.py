"""A segmented case as files: is it there, whole, and what is told of it in tables.

A result is the label map `<case>.nii.gz`, or `<case>.png` of an image, its margin map where one was asked
for, and `<case>.json`, which is written last and says what the result was made from. Where masks may overlap
there is a `<case>_<mask>` for each instead of the label map, whose path still names the result; `masks` are
their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Finding
from medseg.ingest import label_names
from medseg.io import nifti, png
from medseg.volume import Volume

ENDINGS = {"mm": ".nii.gz", "px": png.SUFFIX}
"""How the name of a label map ends, by the unit of the scan's or image's grid."""

SIZE_UNITS = {"mm": "ml", "px": "px"}
"""What sizes are measured in, by the unit of the grid."""

NOT_CASES = frozenset({"stage.json", "labels.json"})
"""Files beside the results that tell of no case."""

_TOLD = frozenset({"sizes", "size_unit", "quality", "needs_review", "notes", "seconds"})


def label_map(folder: Path, case: str, unit: str) -> Path:
    """Where the label map of a case lies, whose grid is measured in `unit` (mm or px)."""
    return folder / f"{case}{ENDINGS[unit]}"


def maps(folder: Path) -> list[Path]:
    """The label maps and margin maps below a folder, in order."""
    return sorted(path for ending in ENDINGS.values() for path in folder.rglob(f"*{ending}"))


def label_maps(folder: Path) -> list[Path]:
    """:func:`maps` without the margin maps."""
    return [path for path in maps(folder) if not case_of(path).endswith(label_names.CONFIDENCE_ENDING)]


def case_of(label: Path) -> str:
    """The case whose label map this is."""
    return label.name.removesuffix(_ending(label))


def confidence_path(label: Path) -> Path:
    """Where the margin map of a label map lies."""
    return label.with_name(case_of(label) + label_names.CONFIDENCE_ENDING + _ending(label))


def metadata_path(label: Path) -> Path:
    """Where it is told how a label map was made."""
    return label.with_name(case_of(label) + ".json")


def _ending(label: Path) -> str:
    return next(ending for ending in ENDINGS.values() if label.name.endswith(ending))


def write(labels: Volume, classes: ClassList, label: Path) -> tuple[Path, ...]:
    """Write a label map of file values (1, X, Y, Z), or masks (L, X, Y, Z) each to its own; give the files.

    They are NIfTI, or of an image PNG with the classes' colours.
    """
    paths = label_files(label, classes.masks)
    for index, (path, array) in enumerate(zip(paths, labels.array, strict=True)):
        one = labels.with_array(array[None])
        if labels.grid.unit == "px":
            png.write_labels(one, classes.of_mask(index) if classes.multilabel else classes, path)
        else:
            nifti.write(one, path)
    return paths


def write_confidence(confidence: Volume, label: Path) -> None:
    """Write a margin map (1, X, Y, Z) beside its label map: NIfTI, or of an image 16-bit PNG (1 as 65535)."""
    path = confidence_path(label)
    if confidence.grid.unit == "px":
        png.write_share(confidence, path)
    else:
        nifti.write(confidence, path)


def label_files(label: Path, masks: Sequence[str] = ()) -> tuple[Path, ...]:
    """The files of a result's label map: itself, or one a mask."""
    return tuple(label.with_name(f"{case_of(label)}_{mask}{_ending(label)}") for mask in masks) or (label,)


def files_of(label: Path, masks: Sequence[str] = ()) -> tuple[Path, ...]:
    """Every file of a result: what is told of it, its label map or masks, its margin map."""
    return metadata_path(label), *label_files(label, masks), confidence_path(label)


def write_metadata(label: Path, told: Mapping[str, Any], key: str, masks: Sequence[str] = ()) -> None:
    """Write what is told of a finished result, and the `key` of what it was made from."""
    files.write_json(metadata_path(label), {**told, "made_from": key, "sha256": _sha256(label, masks)})


def cached_metadata(
    label: Path, key: str, *, confidence: bool = False, masks: Sequence[str] = ()
) -> dict[str, Any] | None:
    """What was told of a result that is there, whole and made from `key`; None if it must be made (again).

    A file that cannot be read as what :func:`tell` writes counts as none. With `margin`, the margin map must
    be there too.
    """
    needed = [*label_files(label, masks), *([confidence_path(label)] if confidence else [])]
    if not all(path.is_file() for path in needed):
        return None
    try:
        told = files.read_json(metadata_path(label))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or not told.keys() >= _TOLD or told.get("made_from") != key:
        return None
    return told if told.get("sha256") == _sha256(label, masks) else None


def remove(label: Path, masks: Sequence[str] = ()) -> None:
    """Remove a result: what is told of it first, so that no half of it counts as done."""
    for path in files_of(label, masks):
        path.unlink(missing_ok=True)


def _sha256(label: Path, masks: Sequence[str]) -> str:
    """The label map's hash, or one of all masks' hashes."""
    hashes = [files.sha256(path) for path in label_files(label, masks)]
    return files.sha256_of_value(hashes) if masks else hashes[0]


def table_columns(classes: ClassList, unit: str = "ml") -> list[str]:
    """The columns of `summary.csv` and `volumes.csv`; sizes stand in `unit`."""
    sizes = [f"{name}_{unit}" for name in classes.foreground_names]
    return [*("case", "file", "status", "code", "note"), *sizes, *("quality", "needs_review", "seconds")]


def table_row(
    case: str, file: Path, status: str, told: Mapping[str, Any], finding: Finding | None, classes: ClassList
) -> dict[str, Any]:
    """A case's row of `summary.csv` and `volumes.csv`.

    Of a case that a `finding` excluded, only its `size_unit` is `told`.
    """
    notes = told.get("notes", [])
    code = str(finding.code) if finding else " ".join(n["code"] for n in notes)
    note = finding.details if finding else "; ".join(n["details"] for n in notes)
    sizes = [told.get("sizes", {}).get(name) for name in classes.foreground_names]
    seconds = None if finding else round(sum(told["seconds"].values()), 2)
    sure = (told.get("quality"), told.get("needs_review"))
    columns = table_columns(classes, told.get("size_unit", "ml"))
    return dict(zip(columns, (case, str(file), status, code, note, *sizes, *sure, seconds), strict=True))
