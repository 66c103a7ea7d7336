"""`medseg demo`, `medseg run`, `medseg baseline`, and one command per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import completion
from medseg.cli.app import app, reporter
from medseg.cli.engine import TIME_LIMIT_S, Executor, Scheduler, TimeLimit, Workers, execution, start_early
from medseg.cli.exits import needs_extra
from medseg.cli.options import (
    DataFolder,
    Device,
    FoldChoice,
    Overwrite,
    Quiet,
    RecipeName,
    Settings,
    Strict,
    Verbose,
    WorkFolder,
    with_device,
)
from medseg.errors import Code, ExitCode, MedsegError


@app.command(rich_help_panel="Pipeline")
def demo(
    work: WorkFolder = None,
    settings: Settings = None,
    device: Device = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Make synthetic subjects and run every stage on them; needs no data and no internet.

    Example: `medseg demo`. It takes a few minutes, and says how many before it trains.
    """
    needs_extra("train")
    from pipelines.commands import demo as pipeline

    folder = work or Path("work/demo")
    return pipeline.run(folder, with_device(settings, device), reporter(folder, quiet=quiet, verbose=verbose))


@app.command(rich_help_panel="Pipeline")
def run(
    recipe: RecipeName,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            autocompletion=completion.stages,
            help="Run this stage and all later ones again.",
        ),
    ] = None,
    fold: FoldChoice = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Read the data and print the plan: cases of each role, channels, classes, time and disk. "
            "Nothing is written but to a temporary folder; exit codes are the run's.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print the plan as JSON.")] = False,
    workers: Workers = 0,
    executor: Executor = "local",
    scheduler: Scheduler = None,
    time_limit: TimeLimit = TIME_LIMIT_S,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Run every stage of a recipe; a stage whose inputs and settings are unchanged is skipped.

    Example: `medseg run recipe.yaml --data DATA --dry-run`, then the same without --dry-run.
    """
    needs_extra("train")
    from pipelines import run as pipeline

    engine = execution(workers, executor, scheduler, time_limit)
    request = pipeline.Request(recipe, data, work, with_device(settings, device), fold, strict)
    if dry_run:
        from medseg.console import Reporter
        from pipelines.commands import dry_run as planning

        say = Reporter(quiet=quiet, verbose=verbose)  # without a log, which would be in the work folder
        return planning.run(request, say, start=start, overwrite=overwrite, as_json=as_json)
    if as_json:
        raise MedsegError(Code.USAGE, "--json", "it prints the plan of --dry-run", "give --dry-run, too")
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, start=start, overwrite=overwrite, execution=engine)


@app.command(rich_help_panel="Pipeline")
def baseline(
    recipe: RecipeName,
    data: DataFolder = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", "-w", metavar="WORK", help="The work folder; default `./work/<recipe>_fcm`."),
    ] = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Score fuzzy c-means clustering on a recipe's test cases, as a baseline for `medseg compare`.

    Example: `medseg baseline demo --data work/demo/subjects`
    """
    needs_extra("train")
    from pipelines.commands import baseline as pipeline
    from pipelines.run import Request

    request = Request(recipe, data, work, tuple(settings or ()), fold)
    return pipeline.run(request, reporter(pipeline.work_folder(request), quiet=quiet, verbose=verbose))


@app.command(rich_help_panel="Stages")
def ingest(
    recipe: RecipeName,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    strict: Strict = False,
    workers: Workers = 0,
    executor: Executor = "local",
    scheduler: Scheduler = None,
    time_limit: TimeLimit = TIME_LIMIT_S,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Read and check every scan or image; list usable and excluded cases, and the splits.

    Example: `medseg ingest recipe.yaml --data DATA`
    """
    needs_extra("train")
    from pipelines import run as pipeline

    engine = execution(workers, executor, scheduler, time_limit)
    request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold, strict)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, only="ingest", execution=engine)


@app.command(rich_help_panel="Stages")
def train(
    recipe: RecipeName,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    overwrite: Overwrite = False,
    device: Device = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Train, or resume an interrupted training; export the model folder.

    Example: `medseg train recipe.yaml --fold all --device cuda`
    """
    needs_extra("train")
    from pipelines import run as pipeline

    request = pipeline.Request(recipe, data, work, with_device(settings, device), fold)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, only="train", overwrite=overwrite)


@app.command(rich_help_panel="Stages")
def report(
    recipe: RecipeName,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Write the report: one HTML file that works offline.

    Example: `medseg report recipe.yaml`
    """
    needs_extra("train")
    from pipelines import run as pipeline

    request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, only="report")


def _stage_of_cases(stage: str) -> None:
    def command(
        recipe: RecipeName,
        data: DataFolder = None,
        work: WorkFolder = None,
        settings: Settings = None,
        fold: FoldChoice = None,
        device: Device = None,
        workers: Workers = 0,
        executor: Executor = "local",
        scheduler: Scheduler = None,
        time_limit: TimeLimit = TIME_LIMIT_S,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> ExitCode:
        needs_extra("train")
        start_early(stage, workers)
        from pipelines import run as pipeline

        engine = execution(workers, executor, scheduler, time_limit)
        request = pipeline.Request(recipe, data, work, with_device(settings, device), fold)
        say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
        return pipeline.run(request, say, only=stage, execution=engine)

    app.command(stage, help=_STAGE_HELP[stage], rich_help_panel="Stages")(command)


_STAGE_HELP = {
    "preprocess": "Prepare usable cases as the arrays that training reads.\n\n"
    "Example: `medseg preprocess recipe.yaml --workers 4`",
    "predict": "Segment the test and unlabelled cases in their native image space.\n\n"
    "Example: `medseg predict recipe.yaml --device cuda`",
}
for _stage in _STAGE_HELP:
    _stage_of_cases(_stage)
