"""`medseg demo`, `medseg run`, and one command a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import (
    DataFolder,
    FoldChoice,
    Overwrite,
    Quiet,
    RecipeName,
    Settings,
    Verbose,
    WorkFolder,
    app,
    reporter,
)
from medseg.cli.exits import needs_extra
from medseg.errors import ExitCode


@app.command(rich_help_panel="Pipeline")
def demo(
    work: WorkFolder = None, settings: Settings = None, quiet: Quiet = False, verbose: Verbose = False
) -> ExitCode:
    """Make synthetic subjects and run every stage on them: no data, no network needed."""
    needs_extra("train")
    from pipelines.commands import demo as pipeline

    folder = work or Path("work/demo")
    return pipeline.run(folder, settings or [], reporter(folder, quiet=quiet, verbose=verbose))


@app.command(rich_help_panel="Pipeline")
def run(
    recipe: RecipeName,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and those after it anew.")
    ] = None,
    fold: FoldChoice = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Run every stage of a recipe; a stage whose inputs and settings are unchanged is skipped."""
    needs_extra("train")
    from pipelines import run as pipeline

    request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, start=start, overwrite=overwrite)


@app.command(rich_help_panel="Pipeline")
def baseline(
    recipe: RecipeName,
    data: DataFolder = None,
    work: Annotated[
        Path | None, typer.Option("--work", metavar="W", help="Default `./work/<recipe>_fcm`.")
    ] = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Score fuzzy c-means on a recipe's test cases, for `medseg compare` to hold a network against."""
    needs_extra("train")
    from pipelines.commands import baseline as pipeline
    from pipelines.run import Request

    request = Request(recipe, data, work, tuple(settings or ()), fold)
    return pipeline.run(request, reporter(pipeline.work_folder(request), quiet=quiet, verbose=verbose))


@app.command(rich_help_panel="Stages")
def train(
    recipe: RecipeName,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Train, resuming where an earlier run stopped; export the model folder."""
    needs_extra("train")
    from pipelines import run as pipeline

    request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, only="train", overwrite=overwrite)


def _one_stage(stage: str) -> None:
    def command(
        recipe: RecipeName,
        data: DataFolder = None,
        work: WorkFolder = None,
        settings: Settings = None,
        fold: FoldChoice = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> ExitCode:
        needs_extra("train")
        from pipelines import run as pipeline

        request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold)
        say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
        return pipeline.run(request, say, only=stage)

    app.command(stage, help=_STAGE_HELP[stage], rich_help_panel="Stages")(command)


_STAGE_HELP = {
    "ingest": "Read and check every scan or image; list the usable, those excluded and why, and the splits.",
    "preprocess": "Bring usable cases into the arrays that training reads.",
    "predict": "Label the test and unlabelled cases on their own grids.",
    "report": "Write the self-contained report.",
}
for _stage in _STAGE_HELP:
    _one_stage(_stage)
