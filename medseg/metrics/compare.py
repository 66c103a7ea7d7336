"""Work folders side by side, and two folders of label maps matched by case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.files import read_csv, read_json, why_no_folder
from medseg.grid import Array
from medseg.metrics import table
from medseg.metrics.summary import interval
from medseg.metrics.table import METRICS, ScoreRow

MEAN = "mean (foreground)"
"""Class name of differences between the cases' means over their foreground classes."""

_Values = dict[tuple[str, str], float]
"""(case, class) → value of one metric."""


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
    """Time and size of a work folder's run; None where the folder does not say."""

    folder: str
    epochs: int | None
    seconds_per_epoch: float | None
    seconds_per_scan: float | None
    parameters: int | None


@dataclass(frozen=True)
class Comparison:
    """The differences of every further folder from the first, and every folder's cost."""

    differences: tuple[Difference, ...]
    costs: tuple[Cost, ...]


def compare(
    folders: Sequence[Path], *, roles: Iterable[str] = ("test",), seed: int = 0, draws: int = 10_000
) -> Comparison:
    """Compare work folders by their ``evaluation/scores.csv``, each with the first.

    Cases are paired by name within a set and class. Raises PATH_MISSING for a folder that is not there,
    STAGE_MISSING for one without scores and USAGE for fewer than two folders.
    """
    if len(folders) < 2:
        raise MedsegError(
            Code.USAGE, "compare", f"{len(folders)} work folder", "name at least two work folders"
        )
    scores = [_scores(folder) for folder in folders]
    labels = _labels(folders)
    paired = [
        difference
        for label, rows in zip(labels[1:], scores[1:], strict=True)
        for role in roles
        for difference in differences(
            (labels[0], scores[0]), (label, rows), role=role, seed=seed, draws=draws
        )
    ]
    costs = (cost(folder, label) for folder, label in zip(folders, labels, strict=True))
    return Comparison(tuple(paired), tuple(costs))


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where names are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _scores(folder: Path) -> list[ScoreRow]:
    path = folder / "evaluation" / "scores.csv"
    if not folder.is_dir():
        raise MedsegError(
            Code.PATH_MISSING, folder, why_no_folder(folder), "name the work folders of two runs"
        )
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
    """Paired differences per class and of the mean over classes, for every metric that both tables have.

    ``first`` and ``other`` are a folder's label and its rows.
    """
    tables = [_values(rows, role) for _, rows in (first, other)]
    subjects = {row.case: row.subject for row in first[1]}
    classes = dict.fromkeys(row.class_name for row in first[1] if row.role == role)
    result = []
    for metric in METRICS:
        ours, theirs = (table[metric] for table in tables)
        for name in (*classes, None):
            a, b, cases, unpaired = _paired(ours, theirs, name)
            if not cases:
                continue
            result.append(
                Difference(
                    first=first[0],
                    other=other[0],
                    role=role,
                    class_name=MEAN if name is None else name,
                    metric=metric,
                    mean_first=float(a.mean()),
                    mean_other=float(b.mean()),
                    difference=float((b - a).mean()),
                    ci95=interval(b - a, [subjects[case] for case in cases], seed=seed, draws=draws),
                    pairs=len(cases),
                    unpaired=unpaired,
                )
            )
    return result


def _values(rows: Sequence[ScoreRow], role: str) -> dict[str, _Values]:
    """Metric → (case, class) → value where defined; the mean over folds where several hold the case."""
    collected: dict[str, dict[tuple[str, str], list[float]]] = {metric: {} for metric in METRICS}
    for row in rows:
        for metric in METRICS:
            value = getattr(row, metric)
            if row.role == role and value is not None:
                collected[metric].setdefault((row.case, row.class_name), []).append(value)
    return {
        metric: {key: float(np.mean(values)) for key, values in by_key.items()}
        for metric, by_key in collected.items()
    }


def _paired(ours: _Values, theirs: _Values, name: str | None) -> tuple[Array, Array, list[str], int]:
    """Both tables' values of a class (None: of each case's mean over classes) for the cases that both have.

    A case's mean takes the classes for which both have the metric. Returns both (N,) float64, the cases, and
    the number of other cases that have a value in one table only.
    """
    ours, theirs = (
        {key: value for key, value in values.items() if name in (key[1], None)} for values in (ours, theirs)
    )
    by_case: dict[str, list[tuple[float, float]]] = {}
    for key in sorted(ours.keys() & theirs.keys()):
        by_case.setdefault(key[0], []).append((ours[key], theirs[key]))
    means = np.array([np.mean(pairs, axis=0) for pairs in by_case.values()]).reshape(-1, 2)
    with_value = {case for case, _ in ours.keys() | theirs.keys()}
    return means[:, 0], means[:, 1], list(by_case), len(with_value - by_case.keys())


def cost(folder: Path, label: str) -> Cost:
    """Training and prediction times of a work folder and its model's size, as far as it has them."""
    epochs = [
        float(row["seconds"])
        for path in sorted(folder.glob("train/**/history.csv"))
        for row in read_csv(path)
        if row.get("seconds")
    ]
    scans = [
        sum(metadata["seconds"].values())
        for path in sorted(folder.glob("predictions/**/*.json"))
        if isinstance(metadata := read_json(path), Mapping) and isinstance(metadata.get("seconds"), Mapping)
    ]
    model = folder / "model" / "model.json"
    return Cost(
        folder=label,
        epochs=len(epochs) or None,
        seconds_per_epoch=float(np.mean(epochs)) if epochs else None,
        seconds_per_scan=float(np.mean(scans)) if scans else None,
        parameters=read_json(model).get("parameters") if model.is_file() else None,
    )
