"""The one loop that scores label maps: of the evaluate stage, of two folders, of baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.evaluate import confusion_matrix, summary, table
from medseg.evaluate.folder_pairs import LabelFiles
from medseg.evaluate.table import Entry, ScoreRow
from medseg.grid import Array, Grid
from medseg.infer import results
from medseg.ingest import checks, quarantine
from medseg.volume import Volume

OVER_SET = ("G", "C", "mIoU", "fwIoU", "BF")
"""What is said of a set of images."""


@dataclass(frozen=True)
class Reference:
    """Who is scored, by which label files, against which prediction; None where there is none."""

    entry: Entry
    truth: LabelFiles
    prediction: LabelFiles | None


@dataclass
class Scored:
    """Rows of scores.csv; a confusion matrix (K, K), or (L, 2, 2) of masks, per role; and what was unusable.

    A case of `unscored` has no row: its reference cannot be read. One of `unread` counts as missing: its
    prediction cannot.
    """

    rows: list[ScoreRow] = field(default_factory=list)
    matrices: dict[str, Array] = field(default_factory=dict)
    unscored: dict[str, Finding] = field(default_factory=dict)
    unread: dict[str, Finding] = field(default_factory=dict)

    @property
    def quarantine(self) -> list[quarantine.Row]:
        """Rows of quarantine.csv."""
        return [quarantine.row(case, finding) for case, finding in (self.unscored | self.unread).items()]


def score(
    references: Sequence[Reference],
    classes: ClassList,
    *,
    nsd_tolerance: float,
    bf_tolerance: float,
    progress: Callable[[int, str], None],
) -> Scored:
    """Score every reference on its own grid; a missing or unreadable prediction is a row of Dice 0.

    Predictions hold the classes' values, whatever the references' form. `progress` gets the number of
    references done and the case.
    """
    scored = Scored()
    for done, reference in enumerate(references, 1):
        entry = reference.entry
        try:
            truth = read_labels(reference.truth, classes)
        except MedsegError as error:
            scored.unscored[entry.case] = error.finding
        else:
            prediction = _prediction(reference, classes, truth.grid, scored)
            array = truth.array[0]
            scored.rows += table.score(
                entry, array, prediction, truth.grid, classes, nsd_tolerance, bf_tolerance
            )
            counted = confusion_matrix.confusion_of(array, prediction, classes, where=entry.case)
            role = scored.matrices.get(entry.role, np.zeros_like(counted))
            scored.matrices[entry.role] = role + counted
        progress(done, entry.case)
    return scored


def predicted_files(label: Path, masks: Sequence[str]) -> LabelFiles | None:
    """The files of a prediction that are there, by its nominal path; None where there is none."""
    there = [path.is_file() for path in results.label_files(label, masks)]
    if not any(there):
        return None
    paths = zip(masks, results.label_files(label, masks), there, strict=True) if masks else ()
    return {mask: path for mask, path, found in paths if found} if masks else label


def read_labels(label: LabelFiles, classes: ClassList, grid: Grid | None = None) -> Volume:
    """A label map, or overlapping masks, in class indices (1, X, Y, Z) uint8, on `grid` if one is given.

    Raises the file's code, and MASK_MISSING unless all masks are there.
    """
    if isinstance(label, Path):
        volume, findings = checks.read_label(label, classes, grid)
    else:
        if absent := [mask for mask in classes.masks if mask not in label]:
            found = f"no {', '.join(absent)}"
            how_to_fix = "add <case>_<mask>, 0 everywhere where there is nothing"
            raise MedsegError(Code.MASK_MISSING, next(iter(label.values())), found, how_to_fix)
        volume, findings = checks.read_masks([label[mask] for mask in classes.masks], classes, grid)
    if volume is None:
        raise refusal(findings)
    return volume


def write(folder: Path, scored: Scored, classes: ClassList, costs: tuple[float, float] = (1.0, 1.0)) -> Any:
    """Write scores.csv, confusion.csv, summary.json and quarantine.csv; give the summary.

    `costs` are those of a false positive and a false negative in the weighted error.
    """
    table.write(folder / "scores.csv", scored.rows)
    table.write_confusion(folder / "confusion.csv", scored.matrices, classes)
    told = summary.summarise(
        scored.rows, scored.matrices, costs=costs, background=classes.background, names=classes.names
    )
    files.write_json(folder / "summary.json", told)
    return told


def _prediction(reference: Reference, classes: ClassList, grid: Grid, scored: Scored) -> Array | None:
    """Class indices (X, Y, Z) on the reference's grid; None where there are none that can be used."""
    if reference.prediction is None:
        return None
    try:
        indices: Array = read_labels(reference.prediction, classes.as_written(), grid).array[0]
    except MedsegError as error:
        scored.unread[reference.entry.case] = error.finding
        return None
    return indices


def summary_lines(told: dict[str, Any]) -> list[str]:
    """The summary as a few lines: each class's Dice and HD95, and the mean over classes; of images, IoU."""
    lines = []
    for name, held in told["sets"].items():
        missing = f", {len(held['missing'])} without prediction" if held["missing"] else ""
        lines.append(f"  {name}: {held['cases']} cases{missing}")
        lines += _image_lines(held) if held["length_unit"] == "px" else _scan_lines(held)
    return lines


def _scan_lines(held: dict[str, Any]) -> list[str]:
    lines = []
    for class_name, metrics in held["classes"].items():
        hd95 = in_words(metrics["hd95"], digits=2)
        dice = in_words(metrics["dice"])
        lines.append(f"    {class_name:<14} Dice {dice}   HD95 {hd95} {held['length_unit']}")
    return [*lines, f"    {'over classes':<14} Dice {in_words(held['over_classes']['dice'])}"]


def _image_lines(held: dict[str, Any]) -> list[str]:
    """The set's numbers, an only class's IoU before them; then each class's IoU over the set and mean BF."""
    over_set = held["over_set"]
    told = [f"{key} {_number(over_set[key])}" for key in OVER_SET if key in over_set]
    if (only := summary.alone(held)) is not None:
        told.insert(0, f"IoU {only[0]} {_number(only[1])}")
    lines = ["    " + "   ".join(told)]
    for class_name, iou in over_set["iou_by_class"].items():
        line = f"    {class_name:<14} IoU {_number(iou)}"
        if class_name in held["classes"]:
            line += f"   BF {in_words(held['classes'][class_name]['bf'])}"
        lines.append(line)
    return lines


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
