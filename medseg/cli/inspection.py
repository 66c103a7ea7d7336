"""`medseg ui`, `explain`, `info` and `doctor`: look at runs and at the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import app
from medseg.cli.exits import needs_extra
from medseg.errors import ExitCode


@app.command(rich_help_panel="Look at results")
def ui(
    work: Annotated[
        list[Path],
        typer.Argument(
            metavar="WORK…", help="Work folders, or folders above some; copies, too. Default: `work`."
        ),
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
    """Open MLflow on the runs of one or more work folders, side by side; Ctrl-C stops it."""
    needs_extra("train")
    from pipelines.commands import ui as pipeline

    pipeline.run(work, port, host, browser=browser)


@app.command(rich_help_panel="Look at results")
def explain(
    work: Annotated[Path, typer.Argument(metavar="W", help="A work folder with a trained model.")],
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case of its `ingest/cases.csv`.")],
    class_name: Annotated[str, typer.Option("--class", metavar="C", help="The class, by name.")],
    layer: Annotated[
        str | None,
        typer.Option(metavar="L", help="A layer of the network; default: the last before its head."),
    ] = None,
    device: Annotated[str, typer.Option(help="`cpu`, `cuda`, …; auto takes a GPU if present.")] = "auto",
) -> None:
    """Draw a Grad-CAM figure of a class in a case: `W/report/explain_<case>_<class>.png`."""
    needs_extra("train")
    from pipelines import explanations
    from pipelines.workfolder import Work, only_one

    if not work.is_dir():
        explanations.draw(Work(work), case, [class_name], layer, device)  # says what is missing
    with only_one(Work(work)):
        typer.echo(explanations.draw(Work(work), case, [class_name], layer, device)[class_name])


@app.command(rich_help_panel="About this installation")
def info(
    full: Annotated[
        bool, typer.Option("--full", help="Also list every network, with its parameters.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Only draw a figure of the 2.5D networks.")
    ] = None,
) -> None:
    """Show versions, device, extras and packaged recipes; with --full also the networks."""
    from pipelines.commands import info as pipeline

    if figure is not None:
        needs_extra("train")
        pipeline.draw(figure)
        typer.echo(figure)
        return

    pipeline.run(full=full, as_json=json)


@app.command(rich_help_panel="About this installation")
def doctor(
    model: Annotated[
        list[Path] | None, typer.Option(metavar="M", help="Model folders whose hashes are checked.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="The folder for results; default: the current one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> ExitCode:
    """Say what will go wrong on this machine before it does; ends with 1 if something will."""
    from pipelines.commands import doctor as pipeline

    return pipeline.run(tuple(model or ()), out, as_json=json)
