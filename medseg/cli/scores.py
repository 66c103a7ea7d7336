"""`medseg evaluate` and `medseg compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import app, reporter
from medseg.cli.engine import TIME_LIMIT_S, Executor, Scheduler, TimeLimit, Workers, execution
from medseg.cli.exits import needs_extra
from medseg.cli.options import DataFolder, FoldChoice, Quiet, Settings, Verbose, WorkFolder
from medseg.errors import Code, ExitCode, MedsegError


@app.command(rich_help_panel="Stages")
def evaluate(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="The recipe whose predictions are scored.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(metavar="A", help="A folder of reference label maps.")] = None,
    pred: Annotated[Path | None, typer.Option(metavar="B", help="A folder of label maps to score.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="O", help="With --truth: where scores go; default B/evaluation.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="With --truth: tolerance of the surface Dice, mm or px.")
    ] = 1.0,
    void: Annotated[
        list[int] | None,
        typer.Option(metavar="V", help="With --truth: a value that marks void (ignored label); repeatable."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="With --truth: a packaged class list or a YAML file of one."),
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
    """Score predictions: a recipe's stage, or two folders of label maps (--truth A --pred B)."""
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
            "medseg evaluate RECIPE, or medseg evaluate --truth A --pred B",
        )
    from pipelines import run as pipeline

    request = pipeline.Request(recipe, data, work, tuple(settings or ()), fold)
    say = reporter(request.work_folder(), quiet=quiet, verbose=verbose)
    return pipeline.run(request, say, only="evaluate", execution=engine)


@app.command(rich_help_panel="Look at results")
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="W1 W2…", help="Work folders; the first is the base.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metrics to show; default dice, hd95, hd95_penalised.")
    ] = None,
    role: Annotated[str, typer.Option(help="Which cases: test, val or train.")] = "test",
    csv: Annotated[
        Path | None, typer.Option(help="Also write every metric's differences to this file.")
    ] = None,
) -> None:
    """Compare work folders: paired differences with intervals, and the time and size of each run."""
    needs_extra("train")
    from pipelines.commands import compare

    compare.run(folders, tuple(metric or ("dice", "hd95", "hd95_penalised")), role, csv)
