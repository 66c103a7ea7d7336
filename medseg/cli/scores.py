"""`medseg evaluate`, `medseg compare` and `medseg benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli import completion
from medseg.cli.app import app, reporter
from medseg.cli.engine import TIME_LIMIT_S, Executor, Scheduler, TimeLimit, Workers, execution, start_early
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
    instances: Annotated[
        Literal["numbers", "components", "watershed"] | None,
        typer.Option(
            metavar="RULE",
            rich_help_panel=_FOLDERS,
            help="Also score objects, F1, PQ and AJI; each value above 0 of a reference is one, and of"
            " --pred: `numbers` the same, `components` what is connected, `watershed` that cut where narrow.",
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
    start_early("evaluate", workers)
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
            written=score_folders.Written(tuple(void or ()), classes, instances),
            execution=engine,
        )
    if recipe is None or any((truth, pred, out, void, classes, instances)):
        raise MedsegError(
            Code.USAGE,
            "medseg evaluate",
            "either a recipe or both folders are needed; --out, --void, --classes, --instances are theirs",
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
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="CASE",
            help="Only draw this case: image, truth and each model's prediction, before and after a CRF.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The picture's file; default `compare_<CASE>.png`."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where a picture's missing predictions are made.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare work folders: paired differences with intervals, the time and size of each run; or a picture.

    Example: `medseg compare work/first work/second --csv differences.csv`
    """
    needs_extra("train")
    from pipelines.commands import compare

    if picture is not None:
        from medseg.console import Reporter
        from pipelines.commands import compare_picture

        compare_picture.draw(folders, picture, out, device, Reporter())
        return
    if out is not None:
        details, how_to_fix = "it is the file of a picture", "name a case by --picture, or leave it out"
        raise MedsegError(Code.USAGE, "--out", details, how_to_fix)
    compare.run(folders, tuple(metric or ("dice", "hd95", "hd95_penalised")), role, csv, as_json=as_json)


@app.command(rich_help_panel="Look at results")
def benchmark(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=completion.recipes,
            show_default=False,
            help="Recipes whose networks are measured, layer by layer; without any, the papers' tables.",
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this table, as `segnet-1`; repeatable. An unknown name lists them."
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A work folder, a folder of some, or a JSON file of `make results`, for the columns of "
            "scores; repeatable; default: `work` and `benchmarks/results`, where they are.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(metavar="S", min=0, max=600, help="Time for each network's passes; 0 times nothing."),
    ] = 2.0,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="`cpu`, `cuda`, …; auto takes a GPU if present.")
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the tables to this file, as Markdown."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the tables of the networks' papers again: size, memory, speed and scores here beside the printed.

    Counts need no data. Example: `medseg benchmark --table segnet-1`
    """
    needs_extra("train")
    from medseg.console import Reporter
    from pipelines.commands import benchmark

    request = benchmark.Request(
        recipes=tuple(recipes or ()),
        tables=tuple(table or ()),
        scores=tuple(scores or ()),
        seconds=seconds,
        device=device,
        out=out,
    )
    benchmark.run(request, Reporter(quiet=quiet), as_json=as_json)
