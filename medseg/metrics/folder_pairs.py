"""Two folders of label maps, matched by case: references and predictions."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import label_names
from medseg.io import images, scans

LabelFiles = Path | Mapping[str, Path]
"""A label map's file, or the files of overlapping masks by name. A file whose name ends in no mask's name has
the empty name."""

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = tuple(s for s in (*scans.SUFFIXES, *images.SUFFIXES) if s not in _LOSSY)
"""Suffixes of label maps: all that are read, except JPEG, whose compression changes values."""


@dataclass(frozen=True)
class Pair:
    """The reference of a case, and the prediction, None where there is none."""

    case: str
    truth: LabelFiles
    prediction: LabelFiles | None


def folder_pairs(truth: Path, prediction: Path) -> tuple[list[Pair], dict[str, Path]]:
    """Match two folders of label maps by case: the file's name without suffix and without `_seg`, `_label`…

    Subfolders are walked too. Where a folder holds both `a.nii.gz` and `a_seg.nii.gz`, the latter is the
    label map. The truth folder is the reference list: a pair for each of its cases, in order; the cases of
    the other folder that it lacks are returned separately, with their files. Raises PATH_MISSING for a folder
    that is not there, NOTHING_USABLE for a truth folder without label maps, and DUPLICATE_CASE where two
    files of a folder claim one case.
    """
    references, predictions = _by_case(truth), _by_case(prediction)
    _require_some(references, truth)
    pairs = [Pair(case, path, predictions.get(case)) for case, path in sorted(references.items())]
    return pairs, {case: path for case, path in sorted(predictions.items()) if case not in references}


def mask_pairs(truth: Path, prediction: Path, masks: Sequence[str]) -> tuple[list[Pair], dict[str, Path]]:
    """Match two folders of overlapping masks by case: `<case>_<mask>`, or `<case>_<mask>_seg`…

    Otherwise as :func:`folder_pairs`; of each case that the truth folder lacks one file is returned.
    """
    references, predictions = _masks_by_case(truth, masks), _masks_by_case(prediction, masks)
    _require_some(references, truth)
    pairs = [Pair(case, paths, predictions.get(case)) for case, paths in sorted(references.items())]
    extra = {
        case: next(iter(paths.values())) for case, paths in predictions.items() if case not in references
    }
    return pairs, dict(sorted(extra.items()))


def object_pairs(truth: Path, prediction: Path) -> tuple[list[Pair], dict[str, Path]]:
    """Match two folders of maps of objects by case.

    Where the truth folder has subfolders ``<case>/masks`` with a mask for each object, these are its cases.
    Otherwise as :func:`folder_pairs`.
    """
    folders = sorted(truth.glob("*/masks"))
    if not folders:
        return folder_pairs(truth, prediction)
    predictions = _by_case(prediction)
    references = {unicodedata.normalize("NFC", folder.parent.name): folder for folder in folders}
    pairs = [Pair(case, path, predictions.get(case)) for case, path in references.items()]
    return pairs, {case: path for case, path in sorted(predictions.items()) if case not in references}


def unread_files(folder: Path, cases: Collection[str]) -> list[Finding]:
    """FORMAT_NOT_READ for each file of a known format without a reader that belongs to none of ``cases``.

    A case's own further files, such as its probabilities as `.npz`, are not meant as label maps.
    """
    findings = []
    for path in sorted(folder.rglob("*")):
        how_to_fix = scans.unread_format(path) if path.is_file() else None
        if how_to_fix and not path.name.startswith(tuple(f"{case}{mark}" for case in cases for mark in "._")):
            findings.append(Finding(Code.FORMAT_NOT_READ, str(path), f"suffix {path.suffix}", how_to_fix))
    return findings


def _require_some(references: Mapping[str, object], truth: Path) -> None:
    if not references:
        unread = unread_files(truth, ())
        details = f"no label maps, but {unread[0].where} and the like, which are not read" if unread else ""
        how_to_fix = unread[0].how_to_fix if unread else f"name a folder with {', '.join(SUFFIXES)} files"
        raise MedsegError(Code.NOTHING_USABLE, truth, details or "no label maps", how_to_fix)


def _by_case(folder: Path) -> dict[str, Path]:
    plain: dict[str, Path] = {}
    marked: dict[str, Path] = {}
    for stem, path in _label_maps(folder):
        case, ending = label_names.split_label_ending(stem)
        _claim(marked if ending else plain, case, path, folder, f"case {case}")
    return {**plain, **marked}


def _masks_by_case(folder: Path, masks: Sequence[str]) -> dict[str, dict[str, Path]]:
    by_case: dict[str, dict[str, Path]] = {}
    for stem, path in _label_maps(folder):
        case, mask = _split_mask(stem, masks)
        _claim(by_case.setdefault(case, {}), mask, path, folder, f"{mask or 'no mask'} of case {case}")
    return by_case


def _split_mask(stem: str, masks: Sequence[str]) -> tuple[str, str]:
    """A name without suffix → the case and the longest mask at its end, empty if none."""
    bare = label_names.split_label_ending(stem)[0]
    for name in (stem, bare):  # a mask may itself be called `lesion`
        for mask in sorted(masks, key=len, reverse=True):
            if name.endswith(f"_{mask}") and len(name) > len(mask) + 1:
                return name[: -len(mask) - 1], mask
    return bare, ""


def _label_maps(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names without suffix, in NFC, and files; hidden files and what lies beside label maps are left out."""
    if not folder.is_dir():
        raise MedsegError(Code.PATH_MISSING, folder, "not a folder", "name the folder of label maps")
    for path in sorted(folder.rglob("*")):
        suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
        if suffix is None or path.name.startswith(".") or not path.is_file():
            continue
        stem = unicodedata.normalize("NFC", path.name[: -len(suffix)])
        if not stem.endswith(label_names.BESIDE):
            yield stem, path


def _claim(by_key: dict[str, Path], key: str, path: Path, folder: Path, title: str) -> None:
    """Put a file under its key, or raise DUPLICATE_CASE."""
    if key in by_key:
        both = f"{by_key[key].relative_to(folder)} and {path.relative_to(folder)}"
        raise MedsegError(
            Code.DUPLICATE_CASE, folder, f"{both} are both {title}", "keep one label map per case"
        )
    by_key[key] = path
