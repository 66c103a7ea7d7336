"""The typer application, and options that several commands share."""

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
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a packaged recipe (`medseg info`)."),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", metavar="D", help="The data folder; overrides `data.path`.")
]
WorkFolder = Annotated[
    Path | None, typer.Option("--work", metavar="W", help="The work folder; default `./work/<recipe>`.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Override a key of the recipe; repeatable."),
]
FoldChoice = Annotated[
    str | None, typer.Option("--fold", metavar="K|all", help="The fold of the splits, or all; default 0.")
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Train anew where a training with other settings is; that is moved aside."
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Refuse splits in which cases that look like one subject's are on different sides."
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A secret key for the pseudonyms of DICOM; default: OUT/private/key."),
]
NoIndex = Annotated[
    bool, typer.Option("--no-index", help="Do not write OUT/private/index.csv (pseudonym, patient).")
]
CredentialsFile = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="FILE",
        help="User and password, or a token, for a DICOMweb server: JSON that you alone can read.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every case.")]


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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of `medseg` itself; see `medseg COMMAND --help` for each command's."""
