"""`medseg evaluate --truth A --pred B`: two folders of label maps; the truth folder is the reference list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg import files
from medseg.classes import VOID, ClassList, ClassListError, classes_of_values
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.ingest import checks, quarantine
from medseg.metrics import folder_pairs
from medseg.metrics.boundary import SHARE as BF_TOLERANCE
from medseg.metrics.folder_pairs import Pair
from medseg.metrics.table import Entry
from medseg.model.description import InstanceSettings
from pipelines import scoring
from pipelines.execution.engines import Execution
from pipelines.scored_case import Reference
from pipelines.scoring import Scored

_REMEDIES = {
    Code.LABEL_VALUE_UNKNOWN: "correct the label map, name its classes with --classes, or leave the value out"
    " with --void",
    Code.NOT_SCALAR: "save it with a palette or in grey values, or name a class list of its colours with"
    " --classes",
}
"""How to fix what is otherwise fixed in a recipe, which two folders do not have."""


ObjectRule = Literal["numbers", "components", "watershed"]
"""How predicted objects are told apart: by the files' own numbers, or in the class's pixels."""


@dataclass(frozen=True)
class Written:
    """The form in which two folders write classes, and objects where they are scored, too."""

    void: tuple[int, ...] = ()
    """Values of pixels that are left out."""
    classes: str | None = None
    """A class list, packaged or a file, by which the truth is read; predictions hold its values."""
    instances: ObjectRule | None = None
    """The rule by which predicted objects are told apart; each value above 0 of a truth is one."""


def run(
    truth: Path,
    prediction: Path,
    out: Path,
    say: Reporter,
    *,
    tolerance: float = 1.0,
    written: Written = Written(),
    execution: Execution | None = None,
) -> ExitCode:
    """Score every label map of `truth`; a case whose truth cannot be read is excluded, by name.

    So are a prediction without a truth and a file of a known format that is not read. An unusable prediction
    is named too, and counts as a missing one: a row of Dice 0. Any of these gives SOME_EXCLUDED. Void pixels
    of the truth are left out; in a prediction they count as background. Where labels.json lists masks that
    may overlap, a case is its `<case>_<mask>` files, all of them. `execution` is the engine.
    Raises USAGE where a void value is also a class, WORK_IN_USE while another command writes to `out`, and
    NOTHING_USABLE if no case can be scored.
    """
    void, rule = written.void, written.instances
    asked = None if written.classes is None else with_void(load.class_list(written.classes), void)
    if rule is None:
        pairs, extra, known = _matched(truth, prediction, void, asked, say)
    else:
        pairs, extra = folder_pairs.object_pairs(truth, prediction)
        known = _one_class(asked, truth, prediction, void)
    references = [Reference(Entry(p.case, p.case), p.truth, p.prediction) for p in pairs]
    how_to_fix = "wait for it to end, or name another folder with --out"
    with files.hold_lock(out / ".lock", out, "another medseg command writes its scores here", how_to_fix):
        with say.progress("scoring", len(pairs)) as bar:
            scored = scoring.score(
                references,
                known,
                nsd_tolerance=tolerance,
                bf_tolerance=BF_TOLERANCE,
                progress=bar.to,
                execution=execution,
                instances=None if rule is None or rule == "numbers" else InstanceSettings(method=rule),
                numbered=rule is not None,
            )
        for findings in (scored.unscored, scored.unread):
            findings[:] = [(case, _without_recipe(finding)) for case, finding in findings]
        if not scored.rows:
            raise _nothing_usable(truth, scored, say)
        excluded = [quarantine.row(case, _no_reference(path, truth)) for case, path in extra.items()]
        names = {*extra, *(pair.case for pair in pairs)}
        for folder in (truth, prediction):
            unread = folder_pairs.unread_files(folder, names)
            excluded += [quarantine.row(Path(f.where).name.partition(".")[0], f) for f in unread]
        scoring.write(out, scored, known, excluded=excluded)
        scoring.say(out, say)
        if rule == "numbers" and _is_one_value_each(scored):
            say.line(
                "  no prediction has more than one value: --instances components numbers what is connected"
            )
        for _, finding in scored.notes:
            say.line(f"  note: {finding}")
        say.result(f"scores: {out / 'scores.csv'}")
        return ExitCode.SOME_EXCLUDED if scoring.is_incomplete(out) else ExitCode.DONE


def _nothing_usable(truth: Path, scored: Scored, say: Reporter) -> MedsegError:
    for case, finding in scored.unscored:
        say.line(f"  {quarantine.line(quarantine.row(case, finding))}")
    details = f"none of {len(scored.unscored)} label maps can be used"
    return MedsegError(Code.NOTHING_USABLE, truth, details, "correct the label maps by the codes above")


def _matched(
    truth: Path, prediction: Path, void: Sequence[int], asked: ClassList | None, say: Reporter
) -> tuple[Sequence[Pair], dict[str, Path], ClassList]:
    """Cases of the truth, predictions that it lacks, and the class list.

    The list is the one `asked` for, or labels.json of either folder; without one, the values found in the
    truth, named by their numbers.
    """
    named = _named(asked, truth, prediction, void)
    if named is not None and named.multilabel:
        return *folder_pairs.mask_pairs(truth, prediction, named.masks), named
    pairs, extra = folder_pairs.folder_pairs(truth, prediction)
    return pairs, extra, named or _classes_by_value(truth, pairs, void, say)


def _named(asked: ClassList | None, truth: Path, prediction: Path, void: Sequence[int]) -> ClassList | None:
    """The class list that was asked for, or labels.json of either folder; None without both."""
    path = next((f / "labels.json" for f in (prediction, truth) if (f / "labels.json").is_file()), None)
    return asked if asked is not None or path is None else with_void(_read_class_list(path), void)


def _one_class(asked: ClassList | None, truth: Path, prediction: Path, void: Sequence[int]) -> ClassList:
    """The background and the class whose objects are numbered; raises USAGE where it is none or several."""
    if void:
        details = "a number of objects, not of a class, and void are written in one file"
        raise MedsegError(
            Code.USAGE, "--void with --instances", details, "write 0 where void is, and leave it out"
        )
    named = _named(asked, truth, prediction, ())
    named = named or ClassList.from_names({0: "background", 1: "object"}, background=True)
    if named.multilabel or not named.background or len(named.classes) != 2:
        details = f"objects are those of one class, the list has {len(named.classes)}"
        how_to_fix = "name a list of the background and one class with --classes, or score classes without it"
        raise MedsegError(Code.USAGE, "--instances", details, how_to_fix)
    return replace(named, label_form="above", threshold=0.0, void_values=(), void_colours=(), merged=())


def _is_one_value_each(scored: Scored) -> bool:
    """True if predictions seem to number nothing: one value each, where references have several."""
    counts = [row.counts for row in scored.objects]
    return any(c.predicted for c in counts) and all(c.predicted < 2 <= c.reference for c in counts)


def _no_reference(path: Path, truth: Path) -> Finding:
    details = f"no label map of this case in {truth}"
    return Finding(Code.REFERENCE_MISSING, str(path), details, "add the reference, or remove the prediction")


def _without_recipe(finding: Finding) -> Finding:
    """The finding, with another remedy where its own names keys of a recipe."""
    if "data." not in finding.how_to_fix:
        return finding
    return replace(finding, how_to_fix=_REMEDIES.get(finding.code, "correct the label map"))


def _classes_by_value(truth: Path, pairs: Sequence[Pair], void: Sequence[int], say: Reporter) -> ClassList:
    """The values in the truth, named by their numbers; 0 is the background.

    Values that usually mean void (255, negative ones) but are not among `void` count as classes, and a line
    says how to leave them out.
    """
    paths = (pair.truth for pair in pairs if isinstance(pair.truth, Path))
    values = sorted({0, *checks.label_values(paths)} - set(void))
    if len(values) < 2:
        raise MedsegError(
            Code.NOTHING_USABLE, truth, "no label map holds a foreground value", "check the folder"
        )
    foreground = [value for value in values if value != 0]
    doubtful = [value for value in foreground if value < 0 or (value == VOID and not void)]
    if doubtful and len(foreground) > len(doubtful):
        options = " ".join(f"--void {value}" for value in doubtful)
        say.line(
            f"  {truth}: {', '.join(map(str, doubtful))} counted as a class; if it marks void (ignored"
            f" pixels), add {options}"
        )
    try:
        return with_void(classes_of_values(values), void)
    except ClassListError as error:
        how_to_fix = "name the classes with --classes; are these label maps, not images?"
        raise MedsegError(Code.USAGE, truth, error.details, how_to_fix) from error


def with_void(classes: ClassList, void: Sequence[int]) -> ClassList:
    """Give the list with further values that mark void; raises USAGE for one that is a class."""
    if both := set(void) & {*classes.values, *([0] if classes.multilabel else [])}:
        raise MedsegError(Code.USAGE, "--void", f"{min(both)} is also a class", "name values of no class")
    return replace(classes, void_values=tuple(dict.fromkeys([*classes.void_values, *void])))


def _read_class_list(path: Path) -> ClassList:
    try:
        return ClassList.from_json(files.read_json(path))
    except ClassListError as error:
        raise MedsegError(Code.USAGE, path, error.details, error.how_to_fix) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        how_to_fix = "correct it, or remove it: classes are then named by their values"
        raise MedsegError(Code.USAGE, path, f"no class list: {error!r}", how_to_fix) from error
