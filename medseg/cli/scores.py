"""`medseg evaluate` and `medseg compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import completion
from medseg.cli.app import app, reporter
from medseg.cli.engine import TIME_LIMIT_S, Executor, Scheduler, TimeLimit, Workers, execution
from medseg.cli.exits import needs_extra
from medseg.cli.options import AsJson, DataFolder, FoldChoice, Quiet, Settings, Verbose, WorkFolder
from medseg.errors import Code, ExitCode, MedsegError

_FOLDERS = "Two folders of label maps, without a recipe"
"""A panel of the help text."""


@app.command(rich_help_panel="Stages")
def evaluate(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=completion.recipes,
            show_default=False,
            help="The recipe whose predictions are scored; left out with --truth and --pred.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=_FOLDERS, help="A folder of reference label maps."),
    ] = None,
    pred: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=_FOLDERS, help="A folder of label maps to score."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            rich_help_panel=_FOLDERS,
            help="Where scores go; default `evaluation` in the folder of --pred.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(metavar="X", rich_help_panel=_FOLDERS, help="Tolerance of the surface Dice, mm or px."),
    ] = 1.0,
    void: Annotated[
        list[int] | None,
        typer.Option(
            metavar="VALUE",
            rich_help_panel=_FOLDERS,
            help="A value that marks void (ignored label); repeatable.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            autocompletion=completion.classes,
            rich_help_panel=_FOLDERS,
            help="A packaged class list or a YAML file of one.",
        ),
    ] = None,
    data: DataFolder = None,
    work: WorkFolder = None,
    settings: Settings = None,
    fold: FoldChoice = None,
    workers: Workers = 0,
    executor: Executor = "local",
    scheduler: Scheduler = None,
    time_limit: TimeLimit = TIME_LIMIT_S,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Score predictions: a recipe's stage, or two folders of label maps.

    Example: `medseg evaluate --truth labels --pred results --out scores`
    """
    needs_extra("train")
    engine = execution(workers, executor, scheduler, time_limit)
    if recipe is None and truth is not None and pred is not None:
        from medseg.console import Reporter
        from pipelines.commands import score_folders

        say = Reporter(quiet=quiet, verbose=verbose)
        place = out or pred / "evaluation"
        engine.check()
        return score_folders.run(
            truth,
            pred,
            place,
            say,
            tolerance=tolerance,
            void=tuple(void or ()),
            classes=classes,
            execution=engine,
        )
    if recipe is None or any((truth, pred, out, void, classes)):
        raise MedsegError(
            Code.USAGE,
            "medseg evaluate",
            "either a recipe or both folders are needed; --out, --void and --classes belong to folders",
            "medseg evaluate RECIPE, or medseg evaluate --truth DIR --pred DIR",
        )
    from pipelines import run as pipeline

    request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, only="evaluate", execution=engine)


@app.command(rich_help_panel="Look at results")
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="WORK", help="Work folders; the first is the base.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A metric to show; repeatable; default dice, hd95, hd95_penalised."
        ),
    ] = None,
    role: Annotated[str, typer.Option(metavar="ROLE", help="Which cases: test, val or train.")] = "test",
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write every metric's differences to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare work folders: paired differences with intervals, and the time and size of each run.

    Example: `medseg compare work/first work/second --csv differences.csv`
    """
    needs_extra("train")
    from pipelines.commands import compare

    compare.run(folders, tuple(metric or ("dice", "hd95", "hd95_penalised")), role, csv, as_json=as_json)
