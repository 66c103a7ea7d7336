"""Work folders side by side, and two folders of label maps matched by case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.evaluate import table
from medseg.evaluate.summary import interval
from medseg.evaluate.table import METRICS, ScoreRow
from medseg.files import read_csv, read_json
from medseg.ingest import names
from medseg.volume import Array

OVER_CLASSES = "over classes"
"""The class name of differences between the cases' means over classes."""

_Values = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Difference:
    """One metric of one class in two work folders, over the ``pairs`` cases that both have.

    ``difference`` is the mean of ``other`` minus ``first``; ``ci95`` its bootstrap interval over subjects,
    None below five; ``unpaired`` counts the cases with a value (of the class, or of any) in one folder only.
    """

    first: str
    other: str
    role: str
    class_name: str
    metric: str
    mean_first: float
    mean_other: float
    difference: float
    ci95: tuple[float, float] | None
    pairs: int
    unpaired: int


@dataclass(frozen=True)
class Cost:
    """What a work folder's run took; None where the folder does not say."""

    folder: str
    epochs: int | None
    seconds_per_epoch: float | None
    seconds_per_scan: float | None
    parameters: int | None


@dataclass(frozen=True)
class Comparison:
    """Differences of every further folder from the first, and every folder's cost."""

    differences: tuple[Difference, ...]
    costs: tuple[Cost, ...]


def compare(
    folders: Sequence[Path], *, roles: Iterable[str] = ("test",), seed: int = 0, draws: int = 10_000
) -> Comparison:
    """Compare work folders by their ``evaluation/scores.csv``; the first is what the others are held against.

    Cases are paired by name within a set and class. Raises STAGE_MISSING for a folder without scores and
    USAGE for fewer than two folders.
    """
    if len(folders) < 2:
        raise MedsegError(
            Code.USAGE, "compare", f"{len(folders)} work folder", "name at least two work folders"
        )
    scores = [_scores(folder) for folder in folders]
    labels = _labels(folders)
    found = [
        difference
        for label, rows in zip(labels[1:], scores[1:], strict=True)
        for role in roles
        for difference in differences(
            (labels[0], scores[0]), (label, rows), role=role, seed=seed, draws=draws
        )
    ]
    return Comparison(
        tuple(found), tuple(cost(folder, label) for folder, label in zip(folders, labels, strict=True))
    )


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where names are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _scores(folder: Path) -> list[ScoreRow]:
    path = folder / "evaluation" / "scores.csv"
    if not path.is_file():
        raise MedsegError(
            Code.STAGE_MISSING, folder, "no evaluation/scores.csv", "run `medseg evaluate` for it first"
        )
    return table.read(path)


def differences(
    first: tuple[str, Sequence[ScoreRow]],
    other: tuple[str, Sequence[ScoreRow]],
    *,
    role: str = "test",
    seed: int = 0,
    draws: int = 10_000,
) -> list[Difference]:
    """Paired differences per class and over classes, for every metric that both tables have.

    ``first`` and ``other`` are a folder's label and its rows.
    """
    tables = {label: _values(rows, role) for label, rows in (first, other)}
    subjects = {row.case: row.subject for row in first[1]}
    classes = dict.fromkeys(row.class_name for row in first[1] if row.role == role)
    found = []
    for metric in METRICS:
        ours, theirs = (tables[label][metric] for label in (first[0], other[0]))
        for name in (*classes, OVER_CLASSES):
            a, b, cases, unpaired = _paired(ours, theirs, name)
            if not cases:
                continue
            found.append(
                Difference(
                    first=first[0],
                    other=other[0],
                    role=role,
                    class_name=name,
                    metric=metric,
                    mean_first=float(a.mean()),
                    mean_other=float(b.mean()),
                    difference=float((b - a).mean()),
                    ci95=interval(b - a, [subjects[case] for case in cases], seed=seed, draws=draws),
                    pairs=len(cases),
                    unpaired=unpaired,
                )
            )
    return found


def _values(rows: Sequence[ScoreRow], role: str) -> dict[str, _Values]:
    """Metric → (case, class) → value where defined; the mean over folds where several hold the case."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {metric: {} for metric in METRICS}
    for row in rows:
        for metric in METRICS:
            value = getattr(row, metric)
            if row.role == role and value is not None:
                found[metric].setdefault((row.case, row.class_name), []).append(value)
    return {
        metric: {key: float(np.mean(values)) for key, values in held.items()}
        for metric, held in found.items()
    }


def _paired(ours: _Values, theirs: _Values, name: str) -> tuple[Array, Array, list[str], int]:
    """Both tables' values of a class (or of each case's mean over classes) for the cases that both have.

    Over classes, a case's mean takes the classes for which both have the metric. Returns both (N,) float64,
    the cases, and how many other cases have a value in one table only.
    """
    ours, theirs = (
        {key: value for key, value in values.items() if name in (key[1], OVER_CLASSES)}
        for values in (ours, theirs)
    )
    by_case: dict[str, list[tuple[float, float]]] = {}
    for key in sorted(ours.keys() & theirs.keys()):
        by_case.setdefault(key[0], []).append((ours[key], theirs[key]))
    means = np.array([np.mean(pairs, axis=0) for pairs in by_case.values()]).reshape(-1, 2)
    with_value = {case for case, _ in ours.keys() | theirs.keys()}
    return means[:, 0], means[:, 1], list(by_case), len(with_value - by_case.keys())


def cost(folder: Path, label: str) -> Cost:
    """Read a work folder's training and prediction times and its model's size, where they stand."""
    epochs = [
        float(row["seconds"])
        for path in sorted(folder.glob("train/**/history.csv"))
        for row in read_csv(path)
        if row.get("seconds")
    ]
    scans = [
        sum(found["seconds"].values())
        for path in sorted(folder.glob("predictions/**/*.json"))
        if isinstance(found := read_json(path), Mapping) and isinstance(found.get("seconds"), Mapping)
    ]
    model = folder / "model" / "model.json"
    return Cost(
        folder=label,
        epochs=len(epochs) or None,
        seconds_per_epoch=float(np.mean(epochs)) if epochs else None,
        seconds_per_scan=float(np.mean(scans)) if scans else None,
        parameters=read_json(model).get("parameters") if model.is_file() else None,
    )


@dataclass(frozen=True)
class Pair:
    """A reference label map and the prediction of the same case, None where there is none."""

    case: str
    truth: Path
    prediction: Path | None


@dataclass(frozen=True)
class MaskPair:
    """The files of a case's overlapping masks, by the mask's name; ``prediction`` is empty where it has none.

    A file whose name ends in no mask stands under the empty name.
    """

    case: str
    truth: Mapping[str, Path]
    prediction: Mapping[str, Path]


_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".mgz", ".mgh", ".png", ".tif", ".tiff", ".bmp")


def folder_pairs(truth: Path, prediction: Path) -> tuple[list[Pair], dict[str, Path]]:
    """Match two folders of label maps by case: the file's name without suffix and without `_seg`, `_label`…

    Subfolders are walked too. Where a folder holds both `a.nii.gz` and `a_seg.nii.gz`, the latter is the
    label map. The truth folder is the reference list: a pair for each of its cases, in order; the other
    folder's cases that it lacks are returned beside, with their files. Raises PATH_MISSING for a folder that
    is not there, NOTHING_USABLE for a truth folder without label maps, and DUPLICATE_CASE where two files of
    a folder claim one case.
    """
    references, guesses = _by_case(truth), _by_case(prediction)
    _require_some(references, truth)
    pairs = [Pair(case, path, guesses.get(case)) for case, path in sorted(references.items())]
    return pairs, {case: path for case, path in sorted(guesses.items()) if case not in references}


def mask_pairs(truth: Path, prediction: Path, masks: Sequence[str]) -> tuple[list[MaskPair], dict[str, Path]]:
    """Match two folders of overlapping masks by case: `<case>_<mask>`, or `<case>_<mask>_seg`…

    Otherwise as :func:`folder_pairs`; of each case that the truth folder lacks one file is returned beside.
    """
    references, guesses = _masks_by_case(truth, masks), _masks_by_case(prediction, masks)
    _require_some(references, truth)
    pairs = [MaskPair(case, paths, guesses.get(case, {})) for case, paths in sorted(references.items())]
    extra = {case: next(iter(paths.values())) for case, paths in guesses.items() if case not in references}
    return pairs, dict(sorted(extra.items()))


def _require_some(references: Mapping[str, object], truth: Path) -> None:
    if not references:
        remedy = f"name a folder with {', '.join(_SUFFIXES)} files"
        raise MedsegError(Code.NOTHING_USABLE, truth, "no label maps", remedy)


def _by_case(folder: Path) -> dict[str, Path]:
    plain: dict[str, Path] = {}
    marked: dict[str, Path] = {}
    for stem, path in _label_maps(folder):
        case, ending = names.split_label_ending(stem)
        _claim(marked if ending else plain, case, path, folder, f"case {case}")
    return {**plain, **marked}


def _masks_by_case(folder: Path, masks: Sequence[str]) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for stem, path in _label_maps(folder):
        case, mask = _split_mask(stem, masks)
        title = f"{mask or 'no mask'} of case {case}"
        _claim(found.setdefault(case, {}), mask, path, folder, title)
    return found


def _split_mask(stem: str, masks: Sequence[str]) -> tuple[str, str]:
    """A name without suffix → the case and the mask at its end, empty if none."""
    bare = names.split_label_ending(stem)[0]
    for name in (stem, bare):  # a mask may itself be called `lesion`
        for mask in masks:
            if name.endswith(f"_{mask}") and len(name) > len(mask) + 1:
                return name[: -len(mask) - 1], mask
    return bare, ""


def _label_maps(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names without suffix, and files; raises PATH_MISSING."""
    if not folder.is_dir():
        raise MedsegError(Code.PATH_MISSING, folder, "not a folder", "name the folder of label maps")
    for path in sorted(folder.rglob("*")):
        stem = _stem(path.name)
        if stem is not None:
            yield stem, path


def _claim(held: dict[str, Path], key: str, path: Path, folder: Path, title: str) -> None:
    """Put a file under its key, or raise DUPLICATE_CASE."""
    if key in held:
        both = f"{held[key].relative_to(folder)} and {path.relative_to(folder)}"
        raise MedsegError(
            Code.DUPLICATE_CASE, folder, f"{both} are both {title}", "keep one label map a case"
        )
    held[key] = path


def _stem(name: str) -> str | None:
    """A label map's file name without suffix; None for other files, hidden ones and margin maps."""
    suffix = next((s for s in _SUFFIXES if name.lower().endswith(s)), None)
    if suffix is None or name.startswith("."):
        return None
    stem = name[: -len(suffix)]
    return None if stem.endswith(names.MARGIN_ENDING) else stem
