"""Scores as a run in MLflow holds them: few numbers, mean and spread over folds, a table of all classes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.infer.results import PREDICTED
from medseg.metrics import reliability, summary, table
from medseg.metrics.objects import METRICS
from medseg.metrics.table import ScoreRow
from pipelines.scoring import OVER_SET

MOST_CLASSES = 10
"""With more classes, only what is over all of them is a metric; the table has each."""

MEANS = ("dice", "hd95", "nsd")
"""Metrics whose mean over the foreground classes is logged for scans."""

TABLE = "{role}_scores.csv"
"""Name of a set's table among the run's artifacts."""

_COLUMNS = ("dice", "hd95", "nsd", "bf", "iou", "precision", "recall", "assd", "size_error_percent")
_NAMES = {"val": "val_scored"}
"""`val/…` are the curves of validation during training: scores of predicted cases have names of their own."""


def headlines(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Choose the numbers to log of the content of summary.json: `test_dice_mean` → value.

    Their names have no slash, so that MLflow's page of a run shows them after the curves. Sets of images have
    the numbers over the set: `test_mIoU`, `test_IoU_car`; those of objects are `test_objects_f1` and so on.
    Scores of validation cases begin with `val_scored`.
    """
    logged: dict[str, float] = {}
    for role, of_set in numbers["sets"].items():
        chosen = _of_images(of_set) if of_set["length_unit"] == "px" else _of_scans(of_set)
        objects = of_set.get("objects", {})
        chosen |= {f"objects_{key}": objects[key] for key in METRICS if key in objects}
        logged |= {f"{_NAMES.get(role, role)}_{key}": v for key, v in chosen.items() if v is not None}
    return logged


def _of_scans(of_set: Mapping[str, Any]) -> dict[str, float | None]:
    means = {f"{metric}_mean": of_set["over_classes"][metric]["mean"] for metric in MEANS}
    classes = of_set["classes"]
    if len(classes) > MOST_CLASSES:
        return means
    return {**means, **{f"dice_{name}": metrics["dice"]["mean"] for name, metrics in classes.items()}}


def _of_images(of_set: Mapping[str, Any]) -> dict[str, float | None]:
    over_set = of_set["over_set"]
    chosen = {key: over_set[key] for key in OVER_SET if key in over_set}
    by_class = over_set.get("iou_by_class", {})
    if len(of_set["classes"]) <= MOST_CLASSES:
        chosen |= {f"IoU_{name}": value for name, value in by_class.items()}
    return chosen


def by_fold(rows: Sequence[ScoreRow]) -> dict[int, dict[str, float]]:
    """Give each fold's means, by the names of :func:`headlines`; those of a matrix are not among them."""
    return {
        fold: _means([row for row in rows if row.fold == fold]) for fold in sorted({row.fold for row in rows})
    }


def _means(rows: Sequence[ScoreRow]) -> dict[str, float]:
    numbers = summary.summarise(rows, {}, draws=1)
    for of_set in numbers["sets"].values():
        of_set["length_unit"] = "mm"  # of images the means over classes, too: a fold has no matrix of its own
    return headlines(numbers)


def calibration_errors(
    rows: Sequence[ScoreRow], predicted: Mapping[tuple[int, str], Mapping[str, Any]]
) -> dict[str, float]:
    """Give the expected calibration error of the predicted Dice in each set, and of the confidence.

    `test_calibration_error` and `test_calibration_error_of_confidence`: over the cases whose JSON, by fold
    and case in `predicted`, holds a predicted Dice. Nothing without a calibration.
    """
    logged: dict[str, float] = {}
    for role in sorted({row.role for row in rows}):
        dice: dict[tuple[int, str], list[float]] = {}
        for row in rows:
            if row.role == role and row.dice is not None:
                dice.setdefault((row.fold, row.case), []).append(row.dice)
        known = {key: predicted[key] for key in dice if PREDICTED in predicted.get(key, {})}
        true = [statistics.fmean(dice[key]) for key in known]
        name = f"{_NAMES.get(role, role)}_calibration_error"
        for ending, figure in (("", PREDICTED), ("_of_confidence", "quality")):
            if known:
                values = [float(metadata[figure]) for metadata in known.values()]
                logged[name + ending] = reliability.expected_calibration_error(values, true)
    return logged


def over_folds(folds: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Give mean and standard deviation over folds: `folds_test_dice_mean`, `folds_test_dice_sd`, ….

    Only of what every fold has; nothing for a single fold.
    """
    if len(folds) < 2:
        return {}
    common = set.intersection(*(set(values) for values in folds.values()))
    logged: dict[str, float] = {}
    for key in sorted(common):
        values = [of_fold[key] for of_fold in folds.values()]
        name = f"folds_{key.removesuffix('_mean')}"
        logged |= {f"{name}_mean": statistics.fmean(values), f"{name}_sd": statistics.stdev(values)}
    return logged


def write_tables(numbers: Mapping[str, Any], folder: Path, *, anew: bool = True) -> list[Path]:
    """Write a table of all classes and metrics for each set of summary.json to `folder`; give their paths.

    Unless `anew`, tables that are there are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for role, of_set in numbers["sets"].items():
        rows = [_row("mean (foreground)", of_set["over_classes"])]
        rows += [_row(name, metrics) for name, metrics in of_set["classes"].items()]
        by_class = of_set["over_set"].get("iou_by_class", {})
        if of_set["length_unit"] == "px":
            rows = [{**row, "iou_over_set": _digits(by_class.get(row["class"]))} for row in rows]
        columns = [key for key in rows[0] if any(row[key] != "" for row in rows)]
        path = folder / TABLE.format(role=role)
        if anew or not path.is_file():
            files.write_csv(path, columns, [{key: row[key] for key in columns} for row in rows])
        paths.append(path)
    return paths


def _row(name: str, metrics: Mapping[str, Any]) -> dict[str, str]:
    """Make a line of the table: a metric's mean and standard deviation over cases, to four digits."""
    means = {metric: _digits(metrics.get(metric, {}).get("mean")) for metric in _COLUMNS}
    spreads = {f"{metric}_sd": _digits(metrics.get(metric, {}).get("sd")) for metric in _COLUMNS}
    return {"class": name, "cases": str(metrics["dice"]["n"]), **means, **spreads}


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def read_rows(folder: Path) -> list[ScoreRow]:
    """Read scores.csv of an evaluation folder."""
    return table.read(folder / "scores.csv")


def in_words(numbers: Mapping[str, Any]) -> str:
    """Write the means of each set in a line, for a run's description."""
    lines = []
    for role, of_set in numbers["sets"].items():
        if of_set["length_unit"] == "px":
            shown = [f"{key} {_digits(v)}" for key, v in of_set["over_set"].items() if key in OVER_SET]
            lines.append(f"**{role}**, {of_set['cases']} images: {', '.join(shown)}")
        else:
            dice, hd95, nsd = (
                _digits(of_set["over_classes"][metric]["mean"]) or "not defined" for metric in MEANS
            )
            lines.append(f"**{role}**, {of_set['cases']} cases: Dice {dice}, HD95 {hd95} mm, NSD {nsd}")
    return "  \n".join(lines)


def in_markdown(numbers: Mapping[str, Any]) -> str:
    """Write a Markdown table of the scores of each class, for a run's description; empty for many classes."""
    lines: list[str] = []
    for role, of_set in numbers["sets"].items():
        if of_set["length_unit"] == "px" or len(of_set["classes"]) > MOST_CLASSES:
            continue
        lines += [
            "",
            f"| {role}, {of_set['cases']} cases | Dice | HD95 mm | NSD |",
            "| --- | --- | --- | --- |",
        ]
        for name, metrics in [*of_set["classes"].items(), ("**mean (foreground)**", of_set["over_classes"])]:
            cells = [_digits(metrics[metric]["mean"]) for metric in MEANS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines).strip()
