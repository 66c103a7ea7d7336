"""`medseg ui`, `medseg info`, `medseg doctor`: looking at runs and at the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import app
from medseg.cli.exits import needs_extra
from medseg.errors import ExitCode


@app.command(rich_help_panel="Look at results")
def ui(
    work: Annotated[Path, typer.Argument(metavar="WORK", help="A work folder, wherever it was copied to.")],
    port: Annotated[int, typer.Option(metavar="P", help="The port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on a work folder's runs; Ctrl-C stops it."""
    needs_extra("train")
    from pipelines.commands import ui as pipeline

    pipeline.run(work, port)


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
    """Draw what the network sees of a class in a case (Grad-CAM): `W/report/explain_<case>_<class>.png`."""
    needs_extra("train")
    from pipelines import explanations
    from pipelines.workfolder import Work, only_one

    if not work.is_dir():
        explanations.draw(Work(work), case, [class_name], layer, device)  # says what is missing
    with only_one(Work(work)):
        typer.echo(explanations.draw(Work(work), case, [class_name], layer, device)[class_name])


@app.command(rich_help_panel="About this installation")
def info(
    full: Annotated[bool, typer.Option("--full", help="Also every network, built and counted.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Instead, draw the 2.5D networks' stages here.")
    ] = None,
) -> None:
    """Versions, device, extras, packaged recipes; with --full the networks."""
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
) -> ExitCode:
    """Check disk, memory, device, extras, MLflow's version and model hashes; a line each."""
    from pipelines.commands import doctor as pipeline

    return pipeline.run(tuple(model or ()))
