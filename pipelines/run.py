"""The whole recipe: resolve it, lock the work folder, run the stages in order under one tracked run."""

from __future__ import annotations

import shlex
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.config.training import PLANNED
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError, choice
from medseg.train import torchrun
from pipelines import saved_recipe, tracking
from pipelines.execution.engines import Execution
from pipelines.fold import planned_length
from pipelines.job import STAGES, Job, forget, needs_earlier
from pipelines.tracked_texts import header
from pipelines.tracking import Tracked
from pipelines.workfolder import Work, only_one

if TYPE_CHECKING:
    from pipelines.fold.fold import FoldTraining

TRACKED = ("train", "evaluate", "report")
"""Stages that log something. Others, run alone, open no run: MLflow alone takes longer than forty brains."""


def _stage(name: str) -> Any:
    """Import a stage's module; only then, as what the stages use takes seconds to load."""
    return import_module(f"pipelines.stages.{name}")


@dataclass(frozen=True)
class Request:
    """A recipe as the command line names it, with everything that overrides its keys."""

    recipe: str
    data: Path | None = None
    work: Path | None = None
    settings: tuple[str, ...] = ()
    fold: str | None = None
    strict: bool = False

    def work_folder(self) -> Path:
        """`--work`, or `./work/<recipe>`."""
        return self.work or Path("work") / load.locate(self.recipe).stem

    def with_processes(self) -> Request:
        """The request with as many training processes as torchrun started, if it did."""
        if not (count := torchrun.process_count()):
            return self
        return replace(self, settings=(*self.settings, f"train.processes={count}"))

    def command(self, recipe: str, work: Work, *, with_data: bool) -> str:
        """The command line that makes the work folder from a recipe, to be typed in a shell.

        Without its data it goes on with those of the work folder.
        """
        settings = [s for s in self.settings if with_data or not s.startswith("data.path")]
        words = ["medseg", "run", recipe, "--work", str(work.root)]
        words += ["--data", str(self.data)] if self.data and with_data else []
        words += [word for setting in settings for word in ("--set", setting)]
        words += ["--strict"] if self.strict else []
        return shlex.join([*words, "--fold", self.fold] if self.fold else words)


@dataclass(frozen=True)
class Resolved:
    """A request with all that follows from it: the recipe that is used and the one that was named.

    ``anew`` are the stages to forget; ``guarded`` the trainings that no other settings may replace.
    """

    recipe: Recipe
    named: Recipe
    source: str
    work: Work
    folds: tuple[int, ...]
    anew: tuple[str, ...]
    guarded: tuple[FoldTraining, ...]


def run(
    request: Request,
    say: Reporter,
    *,
    start: str | None = None,
    only: str | None = None,
    overwrite: bool = False,
    execution: Execution | None = None,
) -> ExitCode:
    """Run all stages, those from `start` on anew, or `only` one. Excluded cases give SOME_EXCLUDED.

    A training with other settings is refused, or with `overwrite` moved aside. What can be known to go wrong
    is refused before the work folder is touched. `execution` is the engine for cases; default this process.
    Of several processes that torchrun started, the first does all this, and the others train with it.
    """
    if torchrun.process_count() and not torchrun.is_first():
        return torchrun.follow()
    request, execution = request.with_processes(), execution or Execution()
    resolved = resolve(request, start=start, only=only, overwrite=overwrite)
    recipe, work, folds = resolved.recipe, resolved.work, resolved.folds
    execution.check()
    stages = _stages(recipe, only)
    with ExitStack() as stack:
        stack.enter_context(only_one(work))
        if differing := load.differing(resolved.named, recipe):
            say.line(
                f"the work folder's recipe.yaml is used; the named recipe differs in {', '.join(differing)}"
            )
        for stage in resolved.anew:
            forget(stage, work, folds, say)
        saved_recipe.save(recipe, work)
        run = stack.enter_context(_tracked(resolved, say, only))
        command = request.command(resolved.source, work, with_data=recipe.data.layout != "dicom")
        job = Job(recipe, work, say, run, folds, command, request.strict, overwrite, execution)
        if torchrun.process_count():
            stack.enter_context(torchrun.leading())
        for stage in stages:
            if stage == "preprocess" and resolved.guarded:
                from pipelines.fold import earlier

                earlier.require_same_cases(resolved.guarded)
            if stage == "train":
                job = _with_length(job)
            _stage(stage).run(job)
    excluded = files.read_csv(work.ingest / "quarantine.csv") if work.ingest.is_dir() else []
    unpredicted = "predict" in stages and _stage("predict").is_incomplete(work)
    unscored = "evaluate" in stages and _stage("evaluate").scoring.is_incomplete(work.evaluation)
    if only is None or "report" in stages:
        for line in start_steps(work) if recipe.reconstructs else next_steps(work):
            say.line(line)
    return ExitCode.SOME_EXCLUDED if excluded or unpredicted or unscored else ExitCode.DONE


def _stages(recipe: Recipe, only: str | None) -> tuple[str, ...]:
    """Give the stages to run: all, or ``only`` one. Those of an auto-encoder end with its training.

    Raises SEGMENTS_NOTHING for a later one of an auto-encoder.
    """
    known = STAGES[: STAGES.index("train") + 1] if recipe.reconstructs else STAGES
    if only is not None and only not in known:
        details = "the recipe trains an auto-encoder, which segments nothing"
        how_to_fix = "start a unet from its model by network.init_from"
        raise MedsegError(Code.SEGMENTS_NOTHING, f"medseg {only}", details, how_to_fix)
    return known if only is None else (only,)


def _with_length(job: Job) -> Job:
    """The job with the length that `train.minutes` plans for its trainings, if it does."""
    if job.recipe.train.minutes is None:
        return job
    from pipelines.fold import length
    from pipelines.fold.fold import fold_trainings

    trainings = list(fold_trainings(job.recipe, job.work, (job.folds or (0,))[0]))
    planned, is_new = length.plan(trainings[0], len(trainings))
    job.say.line(f"  {planned.words}" + ("" if is_new else f", as recorded in {job.work.train_length.name}"))
    if planned.warning:
        job.say.line(f"  {planned.warning}")
    recipe = planned_length.with_length(job.recipe, planned.length)
    job.tracked.run.params({"train": {key: getattr(recipe.train, key) for key in PLANNED}})
    return replace(job, recipe=recipe)


def _tracked(resolved: Resolved, say: Reporter, only: str | None) -> AbstractContextManager[Tracked]:
    """Open the recipe's run in MLflow, or one that tracks nothing for a stage that logs nothing."""
    recipe, work = resolved.recipe, resolved.work
    if only is None or only in TRACKED:
        return tracking.tracked(recipe, work, say, header(load.locate(resolved.source)))
    return nullcontext(tracking.untracked(recipe, work, say))


def next_steps(work: Work) -> list[str]:
    """The lines that a run ends with, below the place of its report: commands to look at it and to use it."""
    return [
        f"  runs:   {shlex.join(['medseg', 'ui', str(work.root)])}",
        f"  use it: {shlex.join(['medseg', 'segment', 'SCANS', 'OUT', '--model', str(work.model)])}",
    ]


def start_steps(work: Work) -> list[str]:
    """The lines that a run of an auto-encoder ends with: where to see it, and how another starts from it."""
    start = shlex.join(["--set", f"network.init_from={work.model}"])
    return [
        f"  runs:   {shlex.join(['medseg', 'ui', str(work.root)])}",
        f"  start a unet of the same width and depth from it: medseg run RECIPE --data FOLDER {start}",
    ]


def resolve(
    request: Request, *, start: str | None = None, only: str | None = None, overwrite: bool = False
) -> Resolved:
    """Resolve the recipe and refuse what can be known to go wrong; nothing is written."""
    work, anew = Work(request.work_folder()), _stages_from(start)
    named = load.load(request.recipe, request.settings, request.data)
    if named.data.path is None and work.recipe.is_file():
        named = _with_data_of(saved_recipe.read(work), named)
    kept = _kept(request, named, work, only)
    recipe, source = (named, request.recipe) if kept is None else (kept, str(work.recipe))
    if "train" not in anew:
        recipe = planned_length.recorded(recipe, work)
    folds = chosen_folds(recipe, request.fold)
    _stages(recipe, only)
    if only not in (None, "train"):
        _check_place(recipe, request.recipe, work, only)
        return Resolved(recipe, named, source, work, folds, anew, ())
    from pipelines.fold import before_training  # torch and all networks, which no other stage needs

    before_training.check_parts(recipe, load.locate(source))
    _check_place(recipe, request.recipe, work, only)
    guarded = before_training.check_earlier(recipe, work, folds, anew="train" in anew, overwrite=overwrite)
    return Resolved(recipe, named, source, work, folds, anew, guarded)


def _kept(request: Request, named: Recipe, work: Work, only: str | None) -> Recipe | None:
    """The recipe that a later stage goes on with when run alone: the work folder's, if it has the same name.

    `--data` and `--set` of earlier commands stand in it. Ingest and whole runs start from the recipe that is
    named.
    """
    if only in (None, "ingest") or not work.recipe.is_file():
        return None
    kept = saved_recipe.read(work, request.settings, request.data)
    return kept if kept.name == named.name else None


def _with_data_of(kept: Recipe, named: Recipe) -> Recipe:
    """The named recipe on the data that the work folder's recipe of the same name holds."""
    if kept.name != named.name:
        return named
    return named.model_copy(update={"data": named.data.model_copy(update={"path": kept.data.path})})


def _stages_from(start: str | None) -> tuple[str, ...]:
    if start is None:
        return ()
    if start not in STAGES:
        raise MedsegError(Code.USAGE, "--from", f"no stage {start!r}", choice(start, STAGES))
    return STAGES[STAGES.index(start) :]


def _check_place(recipe: Recipe, name: str, work: Work, only: str | None) -> None:
    """Refuse a device, data, earlier stages or a tracking server that are not there."""
    if only in (None, "train", "predict"):
        from medseg.device import choose, resolve_precision

        resolve_precision(recipe.train.precision, choose(recipe.train.device))
    if only is None or only == "ingest":
        _stage("ingest").data_folder(recipe)
    else:
        needs_earlier(only, name, work)
    if only is None or only in TRACKED:
        tracking.check(recipe, work)


def chosen_folds(recipe: Recipe, wanted: str | None) -> tuple[int, ...]:
    """Give the folds that `--fold` names: a number, `all`, or by default the first. Raises USAGE."""
    count = recipe.data.n_folds()
    if wanted is None:
        return (0,)
    if wanted == "all":
        return tuple(range(count))
    if not wanted.isdigit() or int(wanted) >= count:
        how_to_fix = (
            f"0 to {count - 1}, or all" if count > 1 else "the splits have fold 0 alone: data.splits.folds"
        )
        raise MedsegError(Code.USAGE, "--fold", f"no fold {wanted!r}", how_to_fix)
    return (int(wanted),)
