"""The typer application, its own options, and the reporter of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.exits import log_file

if TYPE_CHECKING:
    from medseg.console import Reporter

app = typer.Typer(
    name="medseg",
    help="Segmentation of MRI scans and images: train networks on folders of scans, apply and score them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def reporter(work: Path, *, quiet: bool, verbose: bool = False) -> Reporter:
    """Make a command's reporter; its lines go to `work/medseg.log`, too, and so does a fault's traceback."""
    from medseg.console import Reporter

    log_file[:] = [work / "medseg.log"]
    return Reporter(quiet=quiet, verbose=verbose, log=work / "medseg.log")


def _version(wanted: bool) -> None:
    if wanted:
        from medseg import __version__

        typer.echo(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of `medseg` itself; see `medseg COMMAND --help` for each command's."""
