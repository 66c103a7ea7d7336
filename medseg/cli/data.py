"""`medseg init`, `medseg check`, `medseg export`: folders in, folders out."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import completion
from medseg.cli.app import app, reporter
from medseg.cli.exits import needs_extra
from medseg.cli.options import (
    CredentialsFile,
    KeyFile,
    NoIndex,
    OutOption,
    Quiet,
    Verbose,
    inputs_and_out,
)
from medseg.errors import Code, ExitCode, MedsegError


class _GraphRuntime(Enum):
    """Runtimes of exported graphs; typer takes repeatable choices as enumerations alone."""

    onnx = "onnx"
    openvino = "openvino"


class _Precision(Enum):
    """Precisions of exported graphs."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


@app.command(rich_help_panel="Data and recipes")
def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder of scans or images.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RECIPE", help="The recipe to write.")] = Path(
        "recipe.yaml"
    ),
    force: Annotated[bool, typer.Option("--overwrite", "--force", help="Overwrite the recipe.")] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN",
            help="A channel's files: `{case}/{case}_t1.nii.gz`, or `*_t1.nii.gz`; repeatable.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="The label maps: `{case}_seg.nii.gz` or `*_seg*`.")
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="MINUTES",
            help="Time for training on this machine, which the recipe is fitted to.",
        ),
    ] = 30,
) -> ExitCode:
    """Write a commented recipe for an unknown folder: channels, labels, subjects and classes are guessed.

    Label maps are told by their content. Exit code 3: no labelled case was recognised, and the file is a
    skeleton that lists what is there.

    Example: `medseg init DATA --out recipe.yaml`
    """
    from medseg.ingest.label_templates import counted_as
    from pipelines.commands import init as pipeline
    from pipelines.commands.init_reading import Given

    guess = pipeline.run(data, out, force=force, given=Given(_named(channel or []), label), minutes=minutes)
    count = f"{len(guess.masks)} masks" if guess.masks else f"{len(guess.classes or {})} classes"
    classes = f"class list {guess.class_file}" if guess.class_file else count
    cases = f"{counted_as(guess.n_cases, 'case')} ({guess.n_labelled} labelled)"
    typer.echo(f"{out}: {cases}, layout {guess.layout}, {classes}")
    if guess.n_other:
        belong = "file belongs" if guess.n_other == 1 else "files belong"
        typer.echo(f"{guess.n_other} {belong} to no case; `medseg check` with the recipe names them")
    for remark in guess.remarks:
        typer.echo(f"note: {remark}")
    if guess.n_labelled:
        typer.echo(f"read it, then: {shlex.join(['medseg', 'run', str(out)])}")
        return ExitCode.DONE
    for line in guess.seen:
        typer.echo(f"seen: {line}")
    what = "label map can be used as it is" if guess.label or guess.masks else "labelled case was recognised"
    typer.echo(
        f"no {what}: {out} is a skeleton; complete data in it, or try again with --channel NAME=PATTERN"
        " and --label PATTERN"
    )
    return ExitCode.SOME_EXCLUDED


def _named(options: list[str]) -> dict[str, str]:
    """The patterns of `--channel NAME=PATTERN` by their names; USAGE for anything else."""
    patterns: dict[str, str] = {}
    for option in options:
        name, equals, pattern = option.partition("=")
        if not (name and equals and pattern) or name in patterns:
            raise MedsegError(
                Code.USAGE,
                f"--channel {option}",
                "no NAME=PATTERN of its own",
                "write --channel t1='*_t1.nii.gz'",
            )
        patterns[name] = pattern
    return patterns


@app.command(rich_help_panel="Data and recipes")
def check(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="A folder of scans or images, a DICOM file or zip archive, or a dicomweb:// address.",
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="RECIPE",
            autocompletion=completion.recipes,
            help="A recipe: its patterns and class list are used.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a JSON object: results, files with all figures, classes, remarks."
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write the report as a page with a montage of all cases."
        ),
    ] = None,
    credentials: CredentialsFile = None,
) -> ExitCode:
    """Read every file once and report on the data; nothing is changed, nothing written but `--html FILE`.

    Inputs that cannot be used are listed with the reason. A table shows sizes, spacings, orientations, types,
    values and volumes of classes. Equal files, similar names, outliers and what is missing are named.

    Of DICOM exports each volume is read; their names and paths are not shown. A study at an address (see
    `medseg segment --help`) is fetched into the system's temporary folder for the run.

    Example: `medseg check DATA --recipe recipe.yaml`
    """
    import sys

    from medseg.console import Reporter
    from pipelines.commands import check as pipeline
    from pipelines.commands import remote_inputs

    if remote_inputs.is_address(folder):
        needs_extra("dicom")
    say = Reporter(stream=sys.stderr if as_json else sys.stdout)
    with remote_inputs.fetched([folder], None, credentials, say) as paths:
        return pipeline.run(paths[0], recipe, say, as_json=as_json, page=html)


@app.command(rich_help_panel="Use a trained model")
def export(
    work: Annotated[Path, typer.Argument(metavar="WORK", help="A work folder with a trained model.")],
    folder: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="The model folder to write.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write each network as an ONNX graph: `<member>.onnx`.")
    ] = False,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Also make the model the newest version of NAME in MLflow's registry."
        ),
    ] = None,
    alias: Annotated[
        str, typer.Option(metavar="ALIAS", help="The alias of that version, for `models:/NAME@ALIAS`.")
    ] = "current",
    runtime: Annotated[
        list[_GraphRuntime] | None,
        typer.Option(
            metavar="onnx|openvino",
            help="Also write graphs that `medseg segment --runtime` runs by this. Repeatable.",
        ),
    ] = None,
    precision: Annotated[
        list[_Precision] | None,
        typer.Option(metavar="fp32|bf16|int8", help="What the graphs compute in; default fp32. Repeatable."),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="CASES",
            help="Training cases that set the ranges of int8: their number, or names separated by commas; "
            "default 4.",
        ),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            min=1, max=6, metavar="LEVEL", help="Of UNet++: write the smaller network that ends in this head."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Check the model of a work folder and copy it to a folder of its own.

    Example: `medseg export work/recipe model --onnx`

    A graph for `--runtime` is compared with its network on the validation cases of the work folder; it is
    refused (`NOT_EXPORTABLE`) if labels differ too often, or the mean Dice drops by more than 0.002.
    """
    needs_extra("train")
    if onnx or runtime:
        needs_extra("export")
    if runtime and _GraphRuntime.openvino in runtime:
        needs_extra("openvino")
    if not runtime and (precision or calibrate):
        option = "--precision" if precision else "--calibrate"
        raise MedsegError(Code.USAGE, option, "there is no graph to write", "give --runtime, too")
    if calibrate and _Precision.int8 not in (precision or ()):
        details = "only graphs in int8 are calibrated"
        raise MedsegError(Code.USAGE, "--calibrate", details, "give --precision int8, too")
    if level is not None and register is not None:
        details = "the model that is registered is the work folder's own, not a smaller one"
        raise MedsegError(
            Code.USAGE, "--level", details, "leave --register out, or set predict.level and train"
        )
    from medseg.console import Reporter
    from pipelines.commands import export as pipeline
    from pipelines.commands.export_graphs import CALIBRATE, Wanted

    wanted = None
    if runtime:
        precisions = precision or [_Precision.fp32]
        wanted = Wanted(
            tuple(one.value for one in dict.fromkeys(runtime)),
            tuple(one.value for one in dict.fromkeys(precisions)),
            calibrate or CALIBRATE,
        )
    say = Reporter(quiet=quiet)
    pipeline.run(work, folder, say, onnx=onnx, graphs=wanted, register=register, alias=alias, level=level)


@app.command(rich_help_panel="Data and recipes")
def convert(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN",
            show_default=False,
            help="DICOM exports: folders of any depth, files, zip archives; dicomweb:// addresses.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", show_default=False, help="The folder for NIfTI files and summary.csv."),
    ] = None,
    out_option: OutOption = None,
    key_file: KeyFile = None,
    no_index: NoIndex = False,
    credentials: CredentialsFile = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Write every volume again, also those that are done, and over files of others.",
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Write every volume of DICOM exports as NIfTI; what has no certain geometry is refused by name.

    Writes `OUT/<case>.nii.gz`, `summary.csv`, `quarantine.csv` and `run.json`. Case names are keyed hashes;
    only `OUT/private/` tells whom they stand for. Run again, what is done is skipped. Exit code 3: some
    series were excluded (see `quarantine.csv`).

    Example: `medseg convert EXPORT OUT`
    """
    inputs, out = inputs_and_out(inputs, out, out_option)
    needs_extra("dicom")
    from pipelines.commands import convert as pipeline
    from pipelines.commands import remote_inputs

    settings, say = (
        pipeline.Settings(key_file, not no_index, overwrite),
        reporter(out, quiet=quiet, verbose=verbose),
    )
    with remote_inputs.fetched(inputs, out, credentials, say) as paths:
        return pipeline.run(paths, out, settings, say)
