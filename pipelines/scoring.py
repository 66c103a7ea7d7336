"""The one loop that scores label maps: of the evaluate stage, of two folders, of baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.errors import Finding
from medseg.grid import Array
from medseg.infer import results
from medseg.ingest import quarantine
from medseg.metrics import objects, summary, table
from medseg.metrics.compare import MEAN
from medseg.metrics.folder_pairs import LabelFiles
from medseg.metrics.objects import ObjectRow
from medseg.metrics.table import PENALISED, ScoreRow
from medseg.model.description import InstanceSettings
from pipelines.execution.engines import Execution
from pipelines.scored_case import Asked, Reference, ScoredCase, work

OVER_SET = ("G", "C", "mIoU", "fwIoU", "BF")
"""Numbers over a set of images that are printed."""

OBJECTS = "objects.csv"

_PENALTY = "with penalty: a missed or invented class counts as the image's diagonal"


@dataclass
class Scored:
    """Rows of scores.csv, confusion matrices by role, and findings as (case, finding).

    A matrix is (K, K), or (L, 2, 2) of masks. ``unscored`` cases have no row: their reference cannot be read.
    ``unread`` predictions cannot be read and count as missing. ``notes`` are about cases that are scored.
    """

    rows: list[ScoreRow] = field(default_factory=list)
    matrices: dict[str, Array] = field(default_factory=dict)
    unscored: list[tuple[str, Finding]] = field(default_factory=list)
    unread: list[tuple[str, Finding]] = field(default_factory=list)
    notes: list[tuple[str, Finding]] = field(default_factory=list)
    objects: list[ObjectRow] = field(default_factory=list)


def score(
    references: Sequence[Reference],
    classes: ClassList,
    *,
    nsd_tolerance: float,
    bf_tolerance: float,
    progress: Callable[[int, str], None],
    execution: Execution | None = None,
    instances: InstanceSettings | None = None,
    numbered: bool = False,
) -> Scored:
    """Score every reference on its own grid; a missing or unreadable prediction is a row of Dice 0.

    Predictions hold the classes' values, whatever the references' form. Void in a prediction counts as
    predicting nothing, with a note. `progress` gets the number of references done and a case. A case whose
    worker was lost is unscored. The result does not depend on `execution`, the engine; default this process.
    With `instances` objects are scored, too, and with `numbered` those of references that number them.
    """
    asked = Asked(classes, nsd_tolerance, bf_tolerance, instances, numbered)
    outcomes: dict[int, ScoredCase] = {}
    matrices: dict[str, Array] = {}
    for number, outcome in (execution or Execution()).carry_out(references, work(asked)):
        role = references[number].entry.role
        if outcome.matrix is not None:  # added up as it comes: a matrix of many classes is large
            matrices[role] = matrices.get(role, 0) + outcome.matrix
            outcome = replace(outcome, matrix=None)
        outcomes[number] = outcome
        progress(len(outcomes), references[number].entry.case)
    scored = Scored()
    for number, reference in enumerate(references):
        outcome, case, role = outcomes[number], reference.entry.case, reference.entry.role
        scored.rows += outcome.rows
        if outcome.objects is not None:
            scored.objects.append(ObjectRow(reference.entry, outcome.objects))
        if role in matrices:  # in the order of the references, whichever ended first
            scored.matrices[role] = matrices[role]
        for finding, findings in (
            (outcome.unscored, scored.unscored),
            (outcome.unread, scored.unread),
            (outcome.note, scored.notes),
        ):
            if finding is not None:
                findings.append((case, finding))
    return scored


def predicted_files(label: Path, masks: Sequence[str]) -> LabelFiles | None:
    """The files of a prediction that are there, by its nominal path; None where there is none."""
    if not masks:
        return label if label.is_file() else None
    paths = zip(masks, results.label_files(label, masks), strict=True)
    return {mask: path for mask, path in paths if path.is_file()} or None


def write(
    folder: Path,
    scored: Scored,
    classes: ClassList,
    *,
    costs: tuple[float, float] = (1.0, 1.0),
    excluded: Iterable[quarantine.Row] = (),
) -> None:
    """Write scores.csv, confusion.csv, summary.json and quarantine.csv, and objects.csv if they are scored.

    `costs` are those of a false positive and a false negative in the weighted error; `excluded` are further
    rows of quarantine.csv.
    """
    table.write(folder / "scores.csv", scored.rows)
    table.write_confusion(folder / "confusion.csv", scored.matrices, classes)
    numbers = summary.summarise(
        scored.rows, scored.matrices, costs=costs, background=classes.background, names=classes.names
    )
    (folder / OBJECTS).unlink(missing_ok=True)
    if scored.objects:
        objects.write(folder / OBJECTS, scored.objects)
    for role, of_set in numbers["sets"].items():
        if of_role := [row for row in scored.objects if row.entry.role == role]:
            of_set["objects"] = objects.summarise(of_role)
    files.write_json(folder / "summary.json", numbers)
    unusable = [quarantine.row(case, finding) for case, finding in scored.unscored + scored.unread]
    quarantine.write(folder / "quarantine.csv", [*excluded, *unusable])


def say(folder: Path, reporter: Reporter) -> None:
    """Print the summary that :func:`write` wrote, and each excluded file with its code."""
    for line in summary_lines(files.read_json(folder / "summary.json")):
        reporter.result(line)
    for row in files.read_csv(folder / "quarantine.csv"):
        reporter.line(f"  {quarantine.line(row)}")


def is_incomplete(folder: Path) -> bool:
    """Tell if an evaluation folder names excluded files or cases without a prediction."""
    excluded = folder / "quarantine.csv"
    if excluded.is_file() and files.read_csv(excluded):
        return True
    numbers = folder / "summary.json"
    return numbers.is_file() and any(s["missing"] for s in files.read_json(numbers)["sets"].values())


def summary_lines(numbers: dict[str, Any]) -> list[str]:
    """The content of summary.json in a few lines.

    Each class's Dice and HD95, and the mean over classes; of images the numbers over the set and IoU.
    """
    lines = []
    for name, of_set in numbers["sets"].items():
        missing = f", {len(of_set['missing'])} without prediction" if of_set["missing"] else ""
        unit = "image" if of_set["length_unit"] == "px" else "case"
        lines.append(f"  {name}: {of_set['cases']} {unit}{'' if of_set['cases'] == 1 else 's'}{missing}")
        lines += _image_lines(of_set) if of_set["length_unit"] == "px" else _scan_lines(of_set)
        if "objects" in of_set:
            lines.append(_object_line(of_set["objects"]))
    return lines


def _scan_lines(of_set: dict[str, Any]) -> list[str]:
    rows = {**of_set["classes"], MEAN: of_set["over_classes"]}
    width = max(14, *map(len, rows))
    lines = []
    for name, metrics in rows.items():
        distance, penalised = metrics["hd95"], metrics[PENALISED["hd95"]]
        line = f"    {name:<{width}} Dice {in_words(metrics['dice'])}"
        line += f"   HD95 {in_words(distance, digits=2)} {of_set['length_unit']}"
        if penalised["n"] > distance["n"]:
            line += f", with penalty {in_words(penalised, digits=2)} {of_set['length_unit']}"
        lines.append(line)
    return [*lines, f"    {_PENALTY}"] if any("with penalty" in line for line in lines) else lines


def _image_lines(of_set: dict[str, Any]) -> list[str]:
    """The set's numbers, an only class's IoU before them; then each class's IoU over the set and mean BF."""
    over_set = of_set["over_set"]
    numbers = [f"{key} {_number(over_set[key])}" for key in OVER_SET if key in over_set]
    if (only := summary.only_class(of_set)) is not None:
        numbers.insert(0, f"IoU {only[0]} {_number(only[1])}")
    lines = ["    " + "   ".join(numbers)]
    for class_name, iou in over_set["iou_by_class"].items():
        line = f"    {class_name:<14} IoU {_number(iou)}"
        if class_name in of_set["classes"]:
            line += f"   BF {in_words(of_set['classes'][class_name]['bf'])}"
        lines.append(line)
    return lines


def _object_line(of_set: dict[str, Any]) -> str:
    scores = "   ".join(f"{name.upper()} {_number(of_set[name])}" for name in objects.METRICS)
    counts = f"{of_set['pairs']} pairs of {of_set['objects']} and {of_set['predicted']} predicted"
    return f"    objects        {scores}   {counts}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def in_words(statistics: dict[str, Any], digits: int = 4) -> str:
    """`0.9142 [0.9021, 0.9250] n 12 (1 undefined)`."""
    mean, interval = statistics["mean"], statistics["ci95"]
    if mean is None:
        return f"undefined (n 0, {statistics['n_undefined']} undefined)"
    text = f"{mean:.{digits}f}"
    if interval is not None:
        text += f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    undefined = f" ({statistics['n_undefined']} undefined)" if statistics["n_undefined"] else ""
    return f"{text} n {statistics['n']}{undefined}"
