"""`medseg segment`: needs the core alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.app import CredentialsFile, KeyFile, NoIndex, Quiet, Verbose, app, reporter
from medseg.cli.exits import needs_extra
from medseg.errors import ExitCode

_INPUTS, _RESULTS, _RUNNING = "Inputs", "Results", "Running"
"""Panels of the help text."""


@app.command(rich_help_panel="Use a trained model")
def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN…", help="Scans or images, folders of them, or dicomweb:// addresses."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for label maps and `summary.csv`.")],
    model: Annotated[
        Path,
        typer.Option(
            "--model", metavar="M", envvar="MEDSEG_MODEL", help="A model folder (`work/<recipe>/model`)."
        ),
    ],
    mode: Annotated[
        Literal["dense", "vote", "tiles", "gaussian"] | None,
        typer.Option(
            help="Whole slices (dense), votes of overlapping windows, overlap-tiles (valid convolutions), or "
            "windows blended by Gaussian weights. The default is the model's own."
        ),
    ] = None,
    confidence_map: Annotated[
        bool,
        typer.Option(
            "--confidence-map",
            help="Also write a confidence map: the difference of the two highest probabilities. Of a DICOM "
            "series also as a parametric map, `<case>.confidence.dcm`.",
            rich_help_panel=_RESULTS,
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="`cpu`, `cuda`, `cuda:1`, …; auto takes a GPU if present.")
    ] = "auto",
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "openvino"] | None,
        typer.Option(
            help="What computes the network: torch (default), or a graph that `medseg export --runtime` "
            "wrote. auto times each on two slices and takes the fastest."
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "int8"] | None,
        typer.Option(help="What the network computes in; default fp32."),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="The fastest runtime in any precision, and of whole slices only 24 voxels around the "
            "foreground; what that changes is printed.",
        ),
    ] = False,
    labels_too: Annotated[
        bool,
        typer.Option(
            "--include-labels",
            help="Also take files named like label maps (`_seg`, `_mask`, …).",
            rich_help_panel=_INPUTS,
        ),
    ] = False,
    accept_domain: Annotated[
        bool,
        typer.Option(
            "--accept-domain", help="Segment scans unlike those of the training too; they need review."
        ),
    ] = False,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Give plain files pseudonyms, too: no name of a file or folder is shown.",
            rich_help_panel=_INPUTS,
        ),
    ] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN",
            help="The files of a channel below IN, as in a recipe: `t1={case}/anat/*_T1w.nii.gz`. "
            "Repeatable. Without it the model's own patterns are tried.",
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE=VALUE",
            help="Change a rule by which series of DICOM exports are chosen: `modality`, `contrast`, "
            "`plane`, `description`, `min_slices` or `max_spacing_mm`, as in `contrast=t1,t1ce`, "
            "`modality=any`, or for one channel `flair.description=*dark*`. Repeatable.",
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A brain mask made elsewhere, on the scan's grid: nothing outside it is segmented. `{case}` "
            "stands for the case's name, as in `masks/{case}.nii.gz`.",
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip",
            help="Cut the brain out of T1-weighted whole heads first, for a model of skull-stripped brains "
            "(extra `[strip]`); the results need review.",
            rich_help_panel=_INPUTS,
        ),
    ] = False,
    seg_type: Annotated[
        Literal["binary", "labelmap"],
        typer.Option(
            help="The kind of DICOM SEG: a segment's voxels as bits (binary, which all viewers read), or all "
            "classes in one map (labelmap, smaller).",
            rich_help_panel=_RESULTS,
        ),
    ] = "binary",
    figure: Annotated[
        bool,
        typer.Option(
            help="Draw `<case>_figure.png`, which `summary.html` shows: three planes of the scan with "
            "outlines of its classes. Not of images.",
            rich_help_panel=_RESULTS,
        ),
    ] = True,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Worker processes on this machine; one that dies takes no other scan along. 0 works in this "
            "process, without limits.",
            rich_help_panel=_RUNNING,
        ),
    ] = 1,
    threads: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Threads of all workers together, never more than the quota; 0 for all there are.",
            rich_help_panel=_RUNNING,
        ),
    ] = 0,
    time_limit: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Time for each step (read, predict, write) of a scan; 0 for none.",
            rich_help_panel=_RUNNING,
        ),
    ] = 1800,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            metavar="MB",
            min=1,
            help="Memory of a worker; default: its share of the machine's.",
            rich_help_panel=_RUNNING,
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            help="Try again what failed in an earlier run and has not changed since.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on: segment what comes into IN, as soon as its folder has stopped changing.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="i/n",
            help="Segment the i-th of n parts of the cases; run all n.",
            rich_help_panel=_RUNNING,
        ),
    ] = None,
    executor: Annotated[
        Literal["local", "dask"],
        typer.Option(
            help="Where cases are worked on: here, or by the workers of a Dask scheduler.",
            rich_help_panel=_RUNNING,
        ),
    ] = "local",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="The Dask scheduler, `tcp://HOST:PORT`.", rich_help_panel=_RUNNING
        ),
    ] = None,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json-lines",
            help="Print events as lines of JSON, for other programs.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    key_file: KeyFile = None,
    no_index: NoIndex = False,
    credentials: CredentialsFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Segment scans or images with a trained model. A second run skips what is done.

    Writes `OUT/<case>.nii.gz` in the scan's native space (`<case>.png` for an image), `<case>.json`,
    `labels.json`, `summary.html` to be read first, `summary.csv`, `quarantine.csv` and `run.json`.

    A case is named after the folders below IN and its file, joined by underscores: `IN/p1/anat/T1.nii.gz`
    becomes `p1_anat_T1`; where a name contains underscores itself, two of them join the parts:
    `IN/sub_1/T1.nii.gz` becomes `sub_1__T1`. A file that is given by itself keeps its name. Two inputs that
    would get the same name are both excluded.

    DICOM exports (folders of any depth, zip archives) are taken too: each volume of a series is a case under
    a pseudonym; beside its label map lie `<case>.seg.dcm` (DICOM SEG) and `<case>.sr.dcm` (volumes). Only
    `OUT/private/` tells whom the pseudonyms stand for. Files beside DICOM get pseudonyms, too, and with
    --private all files.

    `dicomweb://host[:port]/dicom-web/studies/UID[/series/UID]` (`dicomwebs://` with TLS) is fetched into
    `OUT/private/` for the run, and then taken like an export. User and password, or a token, come from
    --credentials FILE or from the environment (see `medseg push --help`).

    A scan unlike those that the model was trained on is excluded (`OUT_OF_DOMAIN`) unless --accept-domain is
    given.

    A model with several channels takes files named `<case>_<channel>`. An earlier result is kept even if
    its scan cannot be used any more. Only one command at a time may write to OUT. Exit code 3: some inputs
    were excluded (see `quarantine.csv`), or a DICOM SEG could not be written; its label map is kept, and the
    next run tries again.
    """
    from medseg.model import folder as model_folder
    from pipelines.commands import remote_inputs, segment_watch
    from pipelines.commands import segment as pipeline
    from pipelines.commands.segment_runtime import Asked
    from pipelines.execution.engines import Execution, Shard
    from pipelines.execution.limits import Limits, share_of_memory

    memory = memory_limit * 2**20 if memory_limit else share_of_memory(max(1, workers))
    settings = pipeline.Settings(
        model,
        mode,
        confidence_map,
        device,
        labels_too,
        key_file,
        not no_index,
        accept_domain,
        private,
        tuple(series or ()),
        mask,
        strip,
        seg_type,
        figure,
        tuple(channel or ()),
        retry,
        None if shard is None else Shard.parse(shard),
        Execution(workers, executor, scheduler, Limits(time_limit or None, memory)),
        Asked(runtime, precision, fast),
        threads,
    )
    if any(map(remote_inputs.is_address, inputs)):
        needs_extra("dicom")
        model_folder.read(model)  # before a study is fetched for nothing
    say = reporter(out, quiet=quiet, verbose=verbose)
    say.json_lines = json_lines
    with remote_inputs.fetched(inputs, out, credentials, say) as paths:
        if watch:
            return segment_watch.run(paths, out, settings, say)
        return pipeline.run(paths, out, settings, say)
