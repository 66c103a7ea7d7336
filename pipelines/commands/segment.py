"""`medseg segment`: scans and a model folder in; label maps, a summary and a quarantine list out.

Every input ends as done, done with note, done without SEG, SEG failed (the label map is kept, the next run
tries again), skipped (its result is there already) or excluded with a code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import medseg
from medseg import files
from medseg.console import Reporter
from medseg.device import choose
from medseg.errors import Code, ExitCode, MedsegError
from medseg.grid import NOUNS
from medseg.infer import batch, loading, results
from medseg.infer.batch import Outcome, Task
from medseg.infer.brain import BrainMask
from medseg.infer.loading import Model
from medseg.ingest import label_names, privacy, quarantine
from medseg.ingest.hidden import hidden_inputs
from medseg.io import scans
from pipelines.commands import dicom_inputs, segment_inputs, segment_series
from pipelines.commands.segment_inputs import Input, Inputs


@dataclass(frozen=True)
class Settings:
    """Options of the command line."""

    model: Path
    mode: str | None = None
    confidence: bool = False
    device: str = "auto"
    include_labels: bool = False
    key_file: Path | None = None
    index: bool = True
    accept_domain: bool = False
    private: bool = False
    """Give plain files pseudonyms, too."""
    series: tuple[str, ...] = ()
    mask: str | None = None
    strip: bool = False
    seg_type: Literal["binary", "labelmap"] = "binary"
    figure: bool = False


def run(paths: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Segment every scan among `paths` (files or folders) into `out`, one command at a time."""
    if settings.mask is not None and settings.strip:
        raise MedsegError(Code.USAGE, "--strip", "--mask gives the brain already", "leave one of them out")
    model = loading.load(settings.model, choose(settings.device))
    _require_possible(settings, model)
    rules = segment_series.with_changes(model.description.series_rules(), settings.series)
    if not settings.private and not dicom_inputs.any_export(paths, out):
        inputs = segment_inputs.find_inputs(
            paths, model.description, out, include_labels=settings.include_labels
        )
        return _segment_all(inputs, paths, out, settings, model, say)
    paths, out = [path.absolute() for path in paths], out.absolute()
    with hidden_inputs(paths, out, say):
        names = privacy.load_key(out, settings.key_file)
        if warning := privacy.key_warning(settings.key_file):
            say.line(warning)
        inputs = segment_inputs.find_inputs(
            paths, model.description, out, include_labels=settings.include_labels, names=names
        )
        inputs = segment_inputs.with_series(inputs, rules, out, names, index=settings.index, say=say)
        return _segment_all(inputs, paths, out, settings, model, say, private=True)


def _segment_all(
    inputs: Inputs,
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    model: Model,
    say: Reporter,
    *,
    private: bool = False,
) -> ExitCode:
    inputs = replace(inputs, cases=tuple(_with_brain(case, settings) for case in inputs.cases))
    if not inputs.cases:
        where, noun = ", ".join(map(str, paths)), NOUNS[inputs.unit]
        how_to_fix = f"name {noun}s or their folder"
        raise MedsegError(Code.NOTHING_USABLE, where, f"no {noun} among the inputs", how_to_fix)
    asked = batch.Settings(
        settings.mode,
        settings.confidence,
        settings.accept_domain,
        seg_kind="LABELMAP" if settings.seg_type == "labelmap" else "BINARY",
        figure=settings.figure,
    )
    masks = model.description.class_list().masks
    with batch.lock(out), say.progress("segmenting", len(inputs.cases)) as bar:
        results.write_label_names(out, model.description.class_list())
        outcomes = []
        for n, case in enumerate(inputs.cases, 1):
            if case.reason is not None:
                outcomes.append(batch.excluded(case.task, masks, case.reason))
            else:
                outcomes.append(batch.run_or_exclude(case.task, model, asked))
            _say(say, case.task, outcomes[-1])
            bar.to(n, case.task.case)
        return _conclude(inputs, outcomes, out, settings, model, say, private=private)


def _with_brain(case: Input, settings: Settings) -> Input:
    """Have nothing but the brain segmented, where a mask was given or asked for."""
    if settings.mask is None and not settings.strip:
        return case
    file = None if settings.mask is None else Path(settings.mask.replace("{case}", case.task.case))
    return replace(case, task=replace(case.task, brain=BrainMask(file)))


def _require_possible(settings: Settings, model: Model) -> None:
    """Raise USAGE for an option that results of this model cannot have."""
    if settings.seg_type == "labelmap" and model.description.class_list().masks:
        details = "masks that may overlap do not fit one LABELMAP"
        raise MedsegError(
            Code.USAGE, "--seg-type labelmap", details, "leave it out, for a BINARY segmentation"
        )
    if settings.figure and model.description.unit == "px":
        details = "label maps of images show their classes in colours already"
        raise MedsegError(Code.USAGE, "--figure", details, "leave it out")


def _say(say: Reporter, task: Task, outcome: Outcome) -> None:
    if outcome.finding is not None:
        say.line(f"  {quarantine.line(quarantine.row(task.case, outcome.finding, task.file))}")
    else:
        codes = " ".join(n["code"] for n in outcome.metadata["notes"])
        if outcome.status in ("done without SEG", "SEG failed"):
            codes += f" {outcome.metadata['seg']}"
        seconds = sum(outcome.metadata["seconds"].values())
        say.line(f"  {outcome.status}: {task.case} ({seconds:.1f} s) {codes.strip()}".rstrip())


def _conclude(
    inputs: Inputs,
    outcomes: Sequence[Outcome],
    out: Path,
    settings: Settings,
    model: Model,
    say: Reporter,
    *,
    private: bool,
) -> ExitCode:
    """Write summary.csv, quarantine.csv and run.json, and print the number of inputs by outcome."""
    _must_add_up(inputs, outcomes, out)
    ended = [(case.task, outcome) for case, outcome in zip(inputs.cases, outcomes, strict=True)]
    classes, size_unit = model.description.class_list(), results.SIZE_UNITS[inputs.unit]
    rows = [
        results.table_row(
            t.case, t.file, o.status, {"size_unit": size_unit, **o.metadata}, o.finding, classes
        )
        for t, o in ended
    ]
    excluded = [quarantine.row(t.case, o.finding, t.file) for t, o in ended if o.finding is not None]
    counts = Counter(o.status for o in outcomes)
    columns, of_series = results.table_columns(classes, size_unit), any(task.series for task, _ in ended)
    if of_series:
        columns += ["seg", "series"]
        rows = [
            {**row, "seg": outcome.metadata.get("seg"), "series": task.case_info.get("series")}
            for row, (task, outcome) in zip(rows, ended, strict=True)
        ]
    files.write_csv(out / "summary.csv", columns, rows)
    quarantine.write(out / "quarantine.csv", excluded)
    description = {
        "medseg": medseg.__version__,
        "model": str(settings.model),
        "model_sha256": model.sha256,
        "mode": settings.mode or model.description.mode,
        "inputs": len(outcomes),
        "counts": dict(sorted(counts.items())),
        "left_out": len(inputs.left_out) if private else [str(p) for p in inputs.left_out],
    }
    files.write_json(out / "run.json", description)
    if inputs.left_out:
        say.line(_left_out_line(inputs, out))
    words = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    say.result(f"{len(outcomes)} inputs: {words}. Summary: {out / 'summary.csv'}")
    if len(excluded) == len(outcomes):
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded or counts["SEG failed"] else ExitCode.DONE


def _must_add_up(inputs: Inputs, outcomes: Sequence[Outcome], out: Path) -> None:
    """Raise DOES_NOT_ADD_UP unless each file belongs to a case, and each case has its outcome."""
    sources = [source for case in inputs.cases for source in case.task.channels.values()]
    used = {source.resolve() for source in sources if isinstance(source, Path)}
    if used != {path.resolve() for path in inputs.files} or len(outcomes) != len(inputs.cases):
        details = (
            f"{len(inputs.files)} files, {len(used)} of them in {len(inputs.cases)} cases, "
            f"{len(outcomes)} of which ended"
        )
        raise MedsegError(Code.DOES_NOT_ADD_UP, out, details, "please report this with medseg.log")


def _left_out_line(inputs: Inputs, out: Path) -> str:
    count = len(inputs.left_out)
    labels = sum(
        scans.detect_kind(path) == inputs.unit and label_names.is_label(scans.stem(path))
        for path in inputs.left_out
    )
    remark = f" ({labels} named like label maps: --include-labels takes them)" if labels else ""
    return f"{count} file{'' if count == 1 else 's'} left out{remark}, see {out / 'run.json'}"
