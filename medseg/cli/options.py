"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import completion
from medseg.errors import Code, MedsegError

_DICOM = "DICOM"
"""A panel of the help texts."""

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        autocompletion=completion.recipes,
        help="A YAML file, or the name of a packaged recipe (`medseg recipes`).",
    ),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", metavar="DATA", help="The data folder; overrides `data.path`.")
]
WorkFolder = Annotated[
    Path | None,
    typer.Option("--work", "-w", metavar="WORK", help="The work folder; default `./work/<recipe>`."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=completion.settings,
        help="Override a key of the recipe, as in `train.epochs=5`; repeatable (`medseg show KEY`).",
    ),
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
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="`cpu`, `cuda`, `cuda:1`, …; default: the recipe's `train.device`."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="OUT", help="OUT, in place of the last argument.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_DICOM,
        help="A secret key for the pseudonyms of DICOM; default: OUT/private/key.",
    ),
]
NoIndex = Annotated[
    bool,
    typer.Option(
        "--no-index",
        rich_help_panel=_DICOM,
        help="Do not write OUT/private/index.csv (pseudonym, patient).",
    ),
]
CredentialsFile = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="FILE",
        rich_help_panel=_DICOM,
        help="User and password, or a token, for a DICOMweb server: JSON that you alone can read.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every case.")]


def with_device(settings: list[str] | None, device: str | None) -> tuple[str, ...]:
    """The overrides of a recipe's keys, `--device` among them."""
    return (*(settings or ()), *([f"train.device={device}"] if device is not None else ()))


def inputs_and_out(inputs: list[str] | None, last: Path | None, out: Path | None) -> tuple[list[str], Path]:
    """The inputs and OUT, which is the last argument or `--out`. Raises USAGE where one is missing."""
    words = [*(inputs or ()), *([] if last is None else [str(last)])]
    if out is None and words:
        out = Path(words.pop())
    if out is None or not words:
        details = "no input" if out is None else f"no input beside OUT, which is {out}"
        raise MedsegError(Code.USAGE, "IN… OUT", details, "name the inputs and then OUT, or --out OUT")
    return words, out
