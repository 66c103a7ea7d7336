"""`medseg evaluate --truth A --pred B`: two folders of label maps; the truth folder is the reference list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg import files
from medseg.classes import VOID, ClassList
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.evaluate import folder_pairs
from medseg.evaluate.boundary import SHARE as BF_TOLERANCE
from medseg.evaluate.folder_pairs import Pair
from medseg.evaluate.table import Entry
from medseg.ingest import checks, quarantine
from pipelines import scoring
from pipelines.scoring import Reference


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
    """Score every label map of `truth`; a case whose truth cannot be read is excluded, by name.

    So is a prediction without a truth. An unusable prediction is named too, and counts as a missing one:
    a row of Dice 0. Any of these gives SOME_EXCLUDED.
    What has a value of `void` in the truth is left out. Raises USAGE where such a value is also a class.
    `classes` names a class list, packaged or a file, by which the truth is read; predictions hold its values.
    Where labels.json tells of masks that may overlap, a case is its `<case>_<mask>` files, all of them.
    """
    asked = None if classes is None else _with_void(load.class_list(classes), void)
    pairs, extra, known = _matched(truth, prediction, void, asked, say)
    excluded = [quarantine.row(case, _without_reference(path, truth)) for case, path in extra.items()]
    references = [Reference(Entry(p.case, p.case), p.truth, p.prediction) for p in pairs]
    with say.progress("scoring", len(pairs)) as bar:
        scored = scoring.score(
            references, known, nsd_tolerance=tolerance, bf_tolerance=BF_TOLERANCE, progress=bar.to
        )
    excluded += scored.quarantine
    if not scored.rows:
        for row in excluded:
            say.line(f"  {quarantine.line(row)}")
        raise MedsegError(
            Code.NOTHING_USABLE, truth, f"{len(pairs)} label maps, none usable", "see the codes"
        )
    told = scoring.write(out, scored, known)
    quarantine.write(out / "quarantine.csv", excluded)
    for line in scoring.summary_lines(told):
        say.result(line)
    for row in excluded:
        say.line(f"  {quarantine.line(row)}")
    say.result(f"scores: {out / 'scores.csv'}")
    missing = any(not pair.prediction for pair in pairs)
    return ExitCode.SOME_EXCLUDED if excluded or missing else ExitCode.DONE


def _matched(
    truth: Path, prediction: Path, void: Sequence[int], asked: ClassList | None, say: Reporter
) -> tuple[Sequence[Pair], dict[str, Path], ClassList]:
    """Cases of the truth, those that it lacks, and the class list.

    The list is the one `asked` for, or labels.json of either folder; without one, the values found in the
    truth, named by their numbers.
    """
    path = next((f / "labels.json" for f in (prediction, truth) if (f / "labels.json").is_file()), None)
    named = asked
    if asked is None and path is not None:
        named = _with_void(_named_classes(path), void)
    if named is not None and named.multilabel:
        return *folder_pairs.mask_pairs(truth, prediction, named.masks), named
    pairs, extra = folder_pairs.folder_pairs(truth, prediction)
    return pairs, extra, named or _found_classes(truth, pairs, void, say)


def _without_reference(path: Path, truth: Path) -> Finding:
    found, how_to_fix = (
        f"no label map of this case in {truth}",
        "add the reference, or take the prediction away",
    )
    return Finding(Code.REFERENCE_MISSING, str(path), found, how_to_fix)


def _found_classes(truth: Path, pairs: Sequence[Pair], void: Sequence[int], say: Reporter) -> ClassList:
    """The values found in the truth, named by their numbers.

    Where 255 is found beside other classes and no value is `void`, a line tells how it is left out.
    """
    values = {0, *checks.label_values(pair.truth for pair in pairs if isinstance(pair.truth, Path))} - set(
        void
    )
    if len(values) < 2:
        raise MedsegError(
            Code.NOTHING_USABLE, truth, "no label map holds a foreground value", "check the folder"
        )
    if not void and VOID in values and len(values - {0, VOID}) > 0:
        say.line(f"  {truth}: {VOID} counts as a class; if it marks void pixels, add --void {VOID}")
    names = {v: "background" if v == 0 else f"label {v}" for v in values}
    return _with_void(ClassList.from_names(names, background=0 in names), void)


def _with_void(classes: ClassList, void: Sequence[int]) -> ClassList:
    if both := set(void) & {*classes.values, *([0] if classes.multilabel else [])}:
        raise MedsegError(Code.USAGE, "--void", f"{min(both)} is also a class", "name values of no class")
    return replace(classes, void_values=tuple(dict.fromkeys([*classes.void_values, *void])))


def _named_classes(path: Path) -> ClassList:
    try:
        return ClassList.from_json(files.read_json(path))
    except (ValueError, KeyError, TypeError) as error:
        how_to_fix = "correct it, or take it away: classes are then named by their values"
        raise MedsegError(Code.USAGE, path, f"no class list: {error!r}", how_to_fix) from error
