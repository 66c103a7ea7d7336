"""The whole recipe: resolve it, lock the work folder, run the stages in order under one tracked run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg import files, networks
from medseg.config import load
from medseg.config.recipe import RandomSplit, Recipe
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import evaluate, ingest, predict, preprocess, report, train
from pipelines.reporter import Reporter
from pipelines.stage import STAGES, Job
from pipelines.tracked import tracked
from pipelines.workfolder import Work, only_one

RUN: dict[str, Callable[[Job], None]] = {
    "ingest": ingest.run,
    "preprocess": preprocess.run,
    "train": train.run,
    "predict": predict.run,
    "evaluate": evaluate.run,
    "report": report.run,
}


@dataclass(frozen=True)
class Request:
    """What the command line names: a recipe, and what overrides it."""

    recipe: str
    data: Path | None = None
    work: Path | None = None
    settings: tuple[str, ...] = ()
    fold: str | None = None

    def work_folder(self) -> Path:
        """`--work`, or `./work/<recipe>`."""
        return self.work or Path("work") / load.locate(self.recipe).stem


def run(request: Request, say: Reporter, *, start: str | None = None, only: str | None = None) -> ExitCode:
    """Run all stages, those from `start` on anew, or `only` one. Cases set aside give SOME_SET_ASIDE."""
    stages = _stages(start, only)
    recipe = load.load(request.recipe, request.settings, request.data)
    _check_network(recipe)
    work = Work(request.work_folder())
    with ExitStack() as held:
        held.enter_context(only_one(work))
        if start is not None:
            _forget(work, stages)
        load.save(recipe, work.recipe)
        run = held.enter_context(tracked(recipe, work, say))
        job = Job(recipe, work, say, run, chosen_folds(recipe, request.fold))
        for stage in stages:
            RUN[stage](job)
    aside = files.read_csv(work.ingest / "quarantine.csv") if work.ingest.is_dir() else []
    return ExitCode.SOME_SET_ASIDE if aside else ExitCode.DONE


def _stages(start: str | None, only: str | None) -> Sequence[str]:
    if only is not None:
        return (only,)
    if start is None:
        return STAGES
    if start not in STAGES:
        raise MedsegError(Code.USAGE, "--from", f"no stage {start!r}", f"one of {', '.join(STAGES)}")
    return STAGES[STAGES.index(start) :]


def _check_network(recipe: Recipe) -> None:
    """Build the network without memory, so that a wrong keyword is known before anything runs."""
    channels = max(1, len(recipe.data.channels)) * recipe.sampling.depth
    with torch.device("meta"):
        networks.build(recipe.network.name, channels, len(recipe.data.classes), **recipe.network.keywords)


def chosen_folds(recipe: Recipe, wanted: str | None) -> tuple[int, ...]:
    """What `--fold` names: a number, `all`, or by default the first. Raises USAGE for any other."""
    how = recipe.data.splits
    count = how.folds if isinstance(how, RandomSplit) else len(how)
    if wanted is None:
        return (0,)
    if wanted == "all":
        return tuple(range(count))
    if not wanted.isdigit() or int(wanted) >= count:
        raise MedsegError(Code.USAGE, "--fold", f"no fold {wanted!r}", f"0 to {count - 1}, or all")
    return (int(wanted),)


def _forget(work: Work, stages: Sequence[str]) -> None:
    """Make the stages run anew; training starts from its first step."""
    for stage in stages:
        (work.stage_folder(stage) / "stage.json").unlink(missing_ok=True)
    if "train" in stages:
        for path in work.root.glob("train/*/*"):
            path.unlink()
