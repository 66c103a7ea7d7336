"""`medseg ui`, `explain`, `info` and `doctor`: look at runs and at the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import completion
from medseg.cli.app import app
from medseg.cli.exits import needs_extra
from medseg.cli.options import AsJson, DataFolder, Settings
from medseg.errors import Code, ExitCode, MedsegError


@app.command(rich_help_panel="Look at results")
def ui(
    work: Annotated[
        list[Path],
        typer.Argument(metavar="WORK", help="Work folders, or folders above some; copies, too."),
    ] = [Path("work")],  # noqa: B006 - typer copies it
    port: Annotated[int, typer.Option(metavar="P", help="The port on this machine.")] = 5000,
    host: Annotated[
        str,
        typer.Option(
            metavar="H", help="The address to listen at; in a container 0.0.0.0, with the port published."
        ),
    ] = "127.0.0.1",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser of a desktop.")
    ] = True,
) -> None:
    """Open MLflow on the runs of one or more work folders, side by side; Ctrl-C stops it.

    Example: `medseg ui work/`
    """
    needs_extra("train")
    from pipelines.commands import ui as pipeline

    pipeline.run(work, port, host, browser=browser)


@app.command(rich_help_panel="Look at results")
def explain(
    work: Annotated[Path, typer.Argument(metavar="WORK", help="A work folder with a trained model.")],
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case of its `ingest/cases.csv`.")],
    class_name: Annotated[str, typer.Option("--class", metavar="NAME", help="The class, by name.")],
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A layer of the network; default: the last before its head."),
    ] = None,
    crf: Annotated[
        bool,
        typer.Option(
            "--crf",
            help="Draw the class's score and belief maps before and after each step of the CRF instead.",
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="`cpu`, `cuda`, …; auto takes a GPU if present.")
    ] = "auto",
) -> None:
    """Draw a Grad-CAM figure of a class in a case, or the steps of a CRF, in `WORK/report/`.

    Example: `medseg explain work/demo sub-11 --class wm`
    """
    needs_extra("train")
    from pipelines import explanations
    from pipelines.workfolder import Work, only_one

    if not work.is_dir():
        explanations.draw(Work(work), case, [class_name], layer, device)  # says what is missing
    if crf and layer is not None:
        details, how_to_fix = "a CRF has no layers", "leave --layer or --crf out"
        raise MedsegError(Code.USAGE, "--layer", details, how_to_fix)
    with only_one(Work(work)):
        if crf:
            typer.echo(explanations.draw_crf(Work(work), case, class_name, device))
            return
        typer.echo(explanations.draw(Work(work), case, [class_name], layer, device)[class_name])


@app.command(rich_help_panel="Data and recipes")
def recipes(as_json: AsJson = False) -> None:
    """List the packaged recipes: name, data, network, minutes.

    Example: `medseg recipes`
    """
    from pipelines.commands import recipes as pipeline

    pipeline.run(as_json=as_json)


@app.command(rich_help_panel="Use a trained model")
def models(as_json: AsJson = False) -> None:
    """List the models that ship with medseg: classes, conventions, size; none is ever downloaded.

    Example: `medseg models`
    """
    from pipelines.commands import models as pipeline

    pipeline.run(as_json=as_json)


@app.command(rich_help_panel="Data and recipes")
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|KEY|NETWORK",
            autocompletion=completion.names,
            help="A recipe, by name or file; a key as `train.epochs`, a section as `train`; a network.",
        ),
    ],
    data: DataFolder = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show a recipe with all its keys, the meaning of a key, or a network.

    Example: `medseg show ibsr18_quick`, `medseg show train.lr`, `medseg show unet`
    """
    from pipelines.commands import show as pipeline

    pipeline.run(name, settings or [], data, as_json=as_json)


@app.command(rich_help_panel="About this installation")
def info(
    full: Annotated[
        bool, typer.Option("--full", help="Also list every network, with its parameters.")
    ] = False,
    as_json: AsJson = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only draw a figure of the 2.5D networks.")
    ] = None,
) -> None:
    """Show versions, device, extras and packaged recipes; with --full also the networks.

    Example: `medseg info --full`
    """
    from pipelines.commands import info as pipeline

    if figure is not None:
        needs_extra("train")
        pipeline.draw(figure)
        typer.echo(figure)
        return

    pipeline.run(full=full, as_json=as_json)


@app.command(rich_help_panel="About this installation")
def doctor(
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model", "-m", metavar="MODEL_DIR", help="A model folder whose hashes are checked; repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="The folder for results; default: the current one."),
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Say what will go wrong on this machine before it does; ends with 1 if something will.

    Example: `medseg doctor --model work/demo`
    """
    from pipelines.commands import doctor as pipeline

    return pipeline.run(tuple(model or ()), out, as_json=as_json)
