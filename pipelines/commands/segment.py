"""`medseg segment`: scans and a model folder in; label maps, a summary and a quarantine list out.

Every input ends as done, done with note, skipped (its result is there already) or excluded with a code.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from medseg.console import Reporter
from medseg.device import choose
from medseg.device import threads as available_threads
from medseg.errors import Code, ExitCode, MedsegError
from medseg.grid import NOUNS
from medseg.infer import batch, loading, results
from medseg.infer.batch import Outcome
from medseg.infer.brain import BrainMask
from medseg.ingest import privacy
from medseg.ingest.hidden import hidden_inputs
from medseg.ingest.privacy import Pseudonyms
from medseg.ingest.quarantine import ALIKE, further
from medseg.ingest.tree import nothing_read
from medseg.io import scans
from medseg.model import folder as model_folder
from medseg.model.description import Description
from pipelines.commands import (
    dicom_inputs,
    segment_budget,
    segment_failures,
    segment_inputs,
    segment_kept,
    segment_locks,
    segment_patterns,
    segment_runtime,
    segment_series,
    segment_steps,
    segment_tables,
    segment_words,
)
from pipelines.commands.segment_budget import Budget
from pipelines.commands.segment_inputs import Input, Inputs
from pipelines.commands.segment_steps import Asked
from pipelines.execution.engines import Execution, Shard

_DECIDING = ("torch", "numpy", "nibabel", "pydicom", "onnxruntime", "openvino")
"""Packages whose versions may decide a result."""

Settled = Callable[[Path], bool]
"""Tells of a file whether it may be read: one that is still being written may not."""


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
    patterns: tuple[str, ...] = ()
    retry: bool = False
    shard: Shard | None = None
    execution: Execution = field(default_factory=Execution)
    recipe: str | None = None
    overwrite: bool = False
    name: str | None = None
    """Name of the only case, whose result alone is wanted."""
    numerics: segment_runtime.Asked = field(default_factory=segment_runtime.Asked)
    threads: int = 0
    """Threads of all workers together; 0 for as many as the machine has."""
    budget: Budget = field(default_factory=Budget)
    probabilities: bool = False

    def of_cases(self, unit: scans.Unit, taken: segment_runtime.Taken) -> batch.Settings:
        """The settings of a single case, a scan (mm) or an image (px), whose label map needs no figure."""
        return batch.Settings(
            self.mode,
            self.confidence,
            self.accept_domain,
            seg_kind="LABELMAP" if self.seg_type == "labelmap" else "BINARY",
            figure=self.figure and unit == "mm",
            runtime=f"{taken.numerics}",
            decides=taken.decides,
            margin=taken.margin,
            probabilities=self.probabilities,
        )


def run(paths: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Segment every scan among `paths` (files or folders) into `out`, one command at a time."""
    require_possible(settings)
    settings.execution.check()
    return segment_once(paths, out, settings, say, hold=partial(segment_locks.hold, out, settings.shard))


def segment_once(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    say: Reporter,
    *,
    hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    settled: Settled | None = None,
    known: dict[str, Outcome] | None = None,
) -> ExitCode:
    """Segment the scans that are there now, those that are `settled`, while `hold` holds `out`.

    Outcomes in `known`, by :func:`Task.fingerprint`, are taken over; new ones are added to it.
    """
    known = {} if known is None else known
    with names_of(paths, out, settings, say) as (names, paths, out):
        inputs = find_cases(paths, out, settings, names, say, settled or (lambda _: True))
        with hold():
            facts = {} if names is not None else {"paths": [str(path.absolute()) for path in paths]}
            return _segment_all(inputs, out, settings, say, known, facts, private=names is not None)


def require_possible(settings: Settings) -> None:
    """Raise USAGE for options that exclude each other, or that results of this model cannot have."""
    if settings.mask is not None and settings.strip:
        raise MedsegError(Code.USAGE, "--strip", "--mask gives the brain already", "leave one of them out")
    segment_budget.require_possible(settings.budget, settings.execution)
    description = model_folder.read(settings.model).description
    if settings.seg_type == "labelmap" and description.class_list().masks:
        details = "masks that may overlap do not fit one LABELMAP"
        how_to_fix = "leave it out, for a BINARY segmentation"
        raise MedsegError(Code.USAGE, "--seg-type labelmap", details, how_to_fix)


# Inputs


@contextmanager
def names_of(
    paths: Sequence[Path], out: Path, settings: Settings, say: Reporter, key_folder: Path | None = None
) -> Iterator[tuple[Pseudonyms | None, Sequence[Path], Path]]:
    """Pseudonyms where there is DICOM, or where they are asked for; names of inputs are hidden then.

    Their key is kept below `key_folder`, by default in `out`.
    """
    if not settings.private and not dicom_inputs.any_export(paths, out):
        yield None, paths, out
        return
    paths, out = [path.absolute() for path in paths], out.absolute()
    with hidden_inputs(paths, out, say):
        names = privacy.load_key(key_folder or out, settings.key_file)
        if warning := privacy.key_warning(settings.key_file):
            say.line(warning)
        yield names, paths, out


def find_cases(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    names: Pseudonyms | None,
    say: Reporter,
    settled: Settled = lambda _: True,
) -> Inputs:
    """All cases of this run: files, and volumes of DICOM exports; of a shard those that it holds.

    Raises NOTHING_USABLE where there is none.
    """
    description = model_folder.read(settings.model).description
    recipe = segment_patterns.data_of(settings.recipe)
    inputs = segment_inputs.find_inputs(
        paths,
        description,
        out,
        include_labels=settings.include_labels,
        names=names,
        settled=settled,
        patterns=settings.patterns,
        recipe=recipe,
    )
    for words in inputs.words:
        say.line(f"  {words}")
    if names is not None:
        known = description.series_rules()
        if recipe is not None:
            known |= {name: rules for name, rules in recipe.series.items() if name in known}
        rules = segment_series.with_changes(known, settings.series)
        inputs = segment_inputs.with_series(inputs, rules, out, names, index=settings.index, say=say)
    if not inputs.cases:
        where, noun = ", ".join(map(str, paths)), NOUNS[inputs.unit]
        unread = [path for path in inputs.left_out if names is None and scans.unread_format(path)]
        raise nothing_read(where, f"{noun} among the inputs", unread, f"name {noun}s or their folder")
    if settings.name is not None:
        inputs = inputs.alone(settings.name, out)
    inputs = replace(inputs, cases=tuple(_with_brain(case, settings) for case in inputs.cases))
    return inputs if settings.shard is None else inputs.of_shard(settings.shard.holds)


def _with_brain(case: Input, settings: Settings) -> Input:
    """Have nothing but the brain segmented, where a mask was given or asked for."""
    if settings.mask is None and not settings.strip:
        return case
    file = None if settings.mask is None else Path(settings.mask.replace("{case}", case.task.case))
    return replace(case, task=replace(case.task, brain=BrainMask(file)))


# Outcomes


def _segment_all(
    inputs: Inputs,
    out: Path,
    settings: Settings,
    say: Reporter,
    known: dict[str, Outcome],
    facts: Mapping[str, Any],
    *,
    private: bool,
) -> ExitCode:
    """Have the cases segmented and write the tables; of a run that is stopped, too, with what was not run."""
    description = model_folder.read(settings.model).description
    asked, execution = segment_budget.plan(
        settings.budget, settings.execution, asked_of(settings, out, say), inputs.cases, say
    )
    settings = replace(settings, execution=execution)
    results.write_label_names(out, description.class_list())
    outcomes: list[Outcome | None] = [None] * len(inputs.cases)

    facts = {
        "model_name": description.name,
        **facts,
        **_facts(settings, asked, description, private=private),
    }
    holds = settings.shard.holds if settings.shard else lambda _: True
    cases = {case.task.case for case in inputs.cases}
    kept = segment_kept.rows(out, cases, description, holds, private=private)

    def write_tables() -> segment_tables.Tables:
        run = segment_tables.Run(inputs, outcomes, description, facts, private, kept)
        tables = segment_tables.tables_of(run, out)
        with segment_locks.hold_tables(out):
            if settings.shard is None:
                segment_tables.write(tables, out)
            else:
                segment_tables.write_shard(tables, settings.shard, out)
        return tables

    def conclude() -> ExitCode:
        tables = write_tables()
        with segment_locks.hold_tables(out):
            ended = [
                (case.task, outcome)
                for case, outcome in zip(inputs.cases, outcomes, strict=True)
                if outcome is not None and case.reason is None
            ]
            segment_failures.write(out, asked, ended)
        if inputs.left_out:
            say.line(segment_words.left_out_line(inputs, out))
            for line in segment_words.unread_lines(inputs):
                say.line(line)
        say.event("end", **{key: tables.run[key] for key in ("inputs", "counts")})
        say.result(f"{tables.words()} Summary: {out / 'summary.csv'}")
        return tables.exit_code

    try:
        _carry_out(
            inputs.cases, outcomes, asked, settings, known, say, segment_tables.Growing(write_tables).grow
        )
    except BaseException:
        with suppress(MedsegError, OSError):  # the reason of the end is the one to be told
            conclude()
        raise
    return conclude()


def _carry_out(
    cases: Sequence[Input],
    outcomes: list[Outcome | None],
    asked: Asked,
    settings: Settings,
    known: dict[str, Outcome],
    say: Reporter,
    grow: Callable[[], None],
) -> None:
    """Fill in the outcome of each case as it ends, and have the tables grow."""
    masks = model_folder.read(settings.model).description.class_list().masks
    with say.progress("segmenting", len(cases)) as bar:
        alike: Counter[tuple[str, str]] = Counter()

        def end(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            case = cases[number].task.case
            reason = (str(outcome.finding.code), outcome.finding.details) if outcome.finding else ("", "")
            alike[reason] += 1
            if not reason[0] or alike[reason] <= ALIKE:
                segment_words.say_outcome(say, cases[number].task, outcome)
            segment_words.print_event(say, case, outcome)
            bar.to(sum(o is not None for o in outcomes), case)

        todo: list[int] = []
        for number, case in enumerate(cases):
            fingerprint = case.task.fingerprint()
            if case.reason is not None:
                end(number, batch.excluded(case.task, masks, case.reason))
            elif fingerprint in known:
                outcomes[number] = known[fingerprint]
            else:
                todo.append(number)
        tasks = [cases[number].task for number in todo]
        for place, outcome in settings.execution.carry_out(tasks, segment_steps.work(asked)):
            if outcome is None:  # for want of time
                continue
            end(todo[place], outcome)
            grow()
            if outcome.finding is None or outcome.finding.code not in segment_steps.TO_TRY_AGAIN:
                known[tasks[place].fingerprint()] = outcome
        if not_run := sum(outcome is None for outcome in outcomes):
            say.line(f"  time is over: {not_run} of {len(cases)} not run; the same command goes on with them")
        for (code, details), count in alike.items():
            if code and count > ALIKE:
                say.line(f"  excluded: {code} {further(count - ALIKE)}: {details}")


def asked_of(settings: Settings, out: Path, say: Reporter) -> Asked:
    """All that decides outcomes but the scans; failures of earlier runs are those noted in `out`."""
    execution = settings.execution
    by_graph = settings.numerics.runtime in ("onnx", "openvino")  # which run on the CPU alone
    device = choose("cpu" if settings.device == "auto" and by_graph else settings.device)
    here = available_threads(settings.threads)
    threads = execution.threads(here) or (here if settings.threads else None)
    taken = segment_runtime.take(settings.numerics, settings.model, device, settings.mode, threads)
    for line in taken.lines:
        say.line(line)
    return Asked(
        settings.model,
        loading.identity(settings.model),
        device,
        settings.of_cases(model_folder.read(settings.model).description.unit, taken),
        taken.numerics,
        limits=f"{execution.limits}",
        threads=threads,
        anew=settings.overwrite,
        earlier={} if settings.retry or settings.overwrite else segment_failures.read(out),
    )


def _facts(settings: Settings, asked: Asked, description: Description, *, private: bool) -> dict[str, Any]:
    """All that is needed to repeat the run, but for its inputs; without paths that may name a patient."""
    hidden = {"key_file", "mask", "patterns", "series"} if private else set()
    options = {k: v for k, v in asdict(settings).items() if k not in {"model", *hidden}}
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": str(settings.model.absolute()),
        "model_sha256": asked.model_sha256,
        "results_version": batch.version(description),
        "mode": settings.mode or description.mode,
        "device": asked.device,
        "threads": asked.threads,
        "runtime": asked.settings.runtime,
        "margin": asked.settings.margin,
        "options": options,
        "versions": {
            "system": platform.platform(),
            "python": platform.python_version(),
            **_versions(),
        },
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in _DECIDING:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
