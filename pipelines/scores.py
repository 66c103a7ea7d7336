"""`medseg evaluate --truth A --pred B`: two folders of label maps; the truth folder is the reference list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg import files
from medseg.config import load
from medseg.errors import Code, ExitCode, Finding, MedsegError, refusal
from medseg.evaluate import compare, overlap, summary, table
from medseg.evaluate.table import Entry, ScoreRow
from medseg.infer import results
from medseg.ingest import checks, quarantine
from medseg.ingest.patterns import CaseFiles
from medseg.volume import VOID, Array, ClassList, Grid, Volume
from pipelines.reporter import Reporter

OVER_SET = ("G", "C", "mIoU", "fwIoU", "BF")
"""What is said of a set of images."""


def run(
    truth: Path,
    prediction: Path,
    out: Path,
    say: Reporter,
    *,
    tolerance: float = 1.0,
    void: Sequence[int] = (),
    classes: str | None = None,
) -> ExitCode:
    """Score every label map of `truth`; a case whose truth cannot be read is set aside, by name.

    So is a prediction without a truth. An unusable prediction is named too, and counts as a missing one:
    a row of Dice 0. Any of these gives SOME_SET_ASIDE.
    What has a value of `void` in the truth is left out. Raises USAGE where such a value is also a class.
    `classes` names a class list, packaged or a file, by which the truth is read; predictions hold its values.
    Where labels.json tells of masks that may overlap, a case is its `<case>_<mask>` files, all of them.
    """
    asked = None if classes is None else _with_void(load.class_list(classes), void)
    pairs, extra, known = _matched(truth, prediction, void, asked, say)
    aside = [quarantine.row(case, _without_reference(path, truth)) for case, path in extra.items()]
    rows: list[ScoreRow] = []
    total: Array = np.zeros((), np.int64)
    with say.progress("scoring", len(pairs)) as bar:
        for n, pair in enumerate(pairs, 1):
            truth_map, predicted, unusable = _read(pair, known)
            aside += [quarantine.row(pair.case, finding) for finding in unusable]
            if truth_map is not None:
                array, entry = truth_map.array[0], Entry(pair.case, pair.case)
                rows += table.score(entry, array, predicted, truth_map.grid, known, tolerance)
                total = total + overlap.confusion_of(array, predicted, known, where=pair.case)
            bar.to(n, pair.case)
    if not rows:
        for row in aside:
            say.line(f"  {quarantine.line(row)}")
        raise MedsegError(
            Code.NOTHING_USABLE, truth, f"{len(pairs)} label maps, none usable", "see the codes"
        )
    table.write(out / "scores.csv", rows)
    table.write_confusion(out / "confusion.csv", {"test": total}, known)
    told = summary.summarise(rows, {"test": total}, background=known.background, names=known.names)
    files.write_json(out / "summary.json", told)
    quarantine.write(out / "quarantine.csv", aside)
    for line in summary_lines(told):
        say.result(line)
    for row in aside:
        say.line(f"  {quarantine.line(row)}")
    say.result(f"scores: {out / 'scores.csv'}")
    missing = any(not pair.prediction for pair in pairs)
    return ExitCode.SOME_SET_ASIDE if aside or missing else ExitCode.DONE


def read_labels(path: Path, classes: ClassList, grid: Grid | None = None) -> Volume:
    """A label map in class indices, (1, X, Y, Z) uint8, on `grid` if one is given. Raises the file's code."""
    volume, findings = checks.read_label(path, classes, grid)
    if volume is None:
        raise refusal(findings)
    return volume


def read_truth(case: CaseFiles, classes: ClassList) -> Volume:
    """A case's label map or masks in class indices, (1, X, Y, Z) uint8. Raises the file's code."""
    volume, findings = checks.read_truth(case, classes, None)
    if volume is None:
        raise refusal(findings)
    return volume


def read_prediction(label: Path, classes: ClassList, grid: Grid) -> Array | None:
    """What was predicted, in class indices (X, Y, Z) uint8 on `grid`, by its (nominal) path; None if missing.

    Of masks that may overlap none may be missing. Raises the file's code.
    """
    paths, classes = results.label_files(label, classes.masks), classes.as_written()
    if not all(path.is_file() for path in paths):
        return None
    if classes.overlapping:
        volume, findings = checks.read_masks(paths, classes, grid)
    else:
        volume, findings = checks.read_label(label, classes, grid)
    if volume is None:
        raise refusal(findings)
    indices: Array = volume.array[0]
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


_Pairs = Sequence[compare.Pair | compare.MaskPair]


def _matched(
    truth: Path, prediction: Path, void: Sequence[int], asked: ClassList | None, say: Reporter
) -> tuple[_Pairs, dict[str, Path], ClassList]:
    """Cases of the truth, those that it lacks, and the class list.

    The list is the one `asked` for, or labels.json of either folder; without one, the values found in the
    truth, named by their numbers.
    """
    path = next((f / "labels.json" for f in (prediction, truth) if (f / "labels.json").is_file()), None)
    named = asked
    if asked is None and path is not None:
        named = _with_void(_named_classes(path), void)
    if named is not None and named.overlapping:
        return *compare.mask_pairs(truth, prediction, named.masks), named
    pairs, extra = compare.folder_pairs(truth, prediction)
    return pairs, extra, named or _found_classes(truth, pairs, void, say)


def _read(
    pair: compare.Pair | compare.MaskPair, classes: ClassList
) -> tuple[Volume | None, Array | None, list[Finding]]:
    """The truth, and the prediction (X, Y, Z) on its grid; None where there is none, or with the reason."""
    try:
        truth = _labels(pair.truth, classes)
    except MedsegError as error:
        return None, None, [error.finding]
    if not pair.prediction:
        return truth, None, []
    try:
        return truth, _labels(pair.prediction, classes.as_written(), truth.grid).array[0], []
    except MedsegError as error:
        return truth, None, [error.finding]


def _labels(held: Path | Mapping[str, Path], classes: ClassList, grid: Grid | None = None) -> Volume:
    """As :func:`read_labels`, or of masks by their names; raises MASK_MISSING unless all are there."""
    if isinstance(held, Path):
        return read_labels(held, classes, grid)
    if absent := [mask for mask in classes.masks if mask not in held]:
        found = f"no {', '.join(absent)}"
        remedy = "add <case>_<mask>, 0 everywhere where there is nothing"
        raise MedsegError(Code.MASK_MISSING, next(iter(held.values())), found, remedy)
    volume, findings = checks.read_masks([held[mask] for mask in classes.masks], classes, grid)
    if volume is None:
        raise refusal(findings)
    return volume


def _without_reference(path: Path, truth: Path) -> Finding:
    found, remedy = f"no label map of this case in {truth}", "add the reference, or take the prediction away"
    return Finding(Code.REFERENCE_MISSING, str(path), found, remedy)


def _found_classes(
    truth: Path, pairs: Sequence[compare.Pair], void: Sequence[int], say: Reporter
) -> ClassList:
    """The values found in the truth, named by their numbers.

    Where 255 is found beside other classes and no value is `void`, a line tells how it is left out.
    """
    values = {0, *checks.label_values(pair.truth for pair in pairs)} - set(void)
    if len(values) < 2:
        raise MedsegError(
            Code.NOTHING_USABLE, truth, "no label map holds a foreground value", "check the folder"
        )
    if not void and VOID in values and len(values - {0, VOID}) > 0:
        say.line(f"  {truth}: {VOID} counts as a class; if it marks void pixels, add --void {VOID}")
    names = {v: "background" if v == 0 else f"label {v}" for v in values}
    return _with_void(ClassList.from_names(names, background=0 in names), void)


def _with_void(classes: ClassList, void: Sequence[int]) -> ClassList:
    if both := set(void) & {*classes.values, *([0] if classes.overlapping else [])}:
        raise MedsegError(Code.USAGE, "--void", f"{min(both)} is also a class", "name values of no class")
    return replace(classes, void_values=tuple(dict.fromkeys([*classes.void_values, *void])))


def _named_classes(path: Path) -> ClassList:
    try:
        return ClassList.from_json(files.read_json(path))
    except (ValueError, KeyError, TypeError) as error:
        remedy = "correct it, or take it away: classes are then named by their values"
        raise MedsegError(Code.USAGE, path, f"no class list: {error!r}", remedy) from error
