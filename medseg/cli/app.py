"""The typer application, its own options, and the reporter of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperGroup

from medseg.cli.exits import log_file

if TYPE_CHECKING:
    from medseg.console import Reporter

_ORDER = (
    *("init", "check", "convert", "recipes", "show"),
    *("demo", "run", "baseline"),
    *("ingest", "preprocess", "train", "predict", "evaluate", "report"),
    *("compare", "benchmark", "ui", "explain", "segment", "models", "export", "push", "info", "doctor"),
)
"""Commands as the help page lists them, in the panels that each names; others come after them."""


class _Group(TyperGroup):
    """The commands in the order of a project; switches and arguments are shown without Python's types."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: (*_ORDER, name).index(name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _hide_types(command.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        _hide_types(parameters)
        return parameters


def _hide_types(parameters: list[Any]) -> None:
    """Show a switch as `--quiet`, and an argument by its name and help alone, not as `<list[Path]>`."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
        if isinstance(parameter, TyperArgument):
            parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005


app = typer.Typer(
    name="medseg",
    cls=_Group,
    help="Segmentation of MRI scans and images: train networks on folders of scans, apply and score them.\n\n"
    "Begin with `medseg demo`. With your own data: `medseg init DATA`, `medseg run recipe.yaml --dry-run`, "
    "`medseg run recipe.yaml`, then `medseg segment SCANS OUT --model work/recipe`. "
    "Tissues of skull-stripped brains need no training: `medseg segment SCANS OUT`.",
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
