"""Arguments and options of `medseg segment`, grouped as its help page shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli import completion

_INPUTS, _RESULTS, _RUNNING, _DICOM = "Inputs", "Results", "Running", "DICOM"
"""Panels of the help text."""

In = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IN", show_default=False, help="Scans or images, folders of them, or dicomweb:// addresses."
    ),
]
Out = Annotated[
    Path | None,
    typer.Argument(
        metavar="OUT",
        show_default=False,
        help="The folder for label maps and `summary.csv`; for one scan also a file, `x.nii.gz`.",
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL_DIR",
        envvar="MEDSEG_MODEL",
        show_default=False,
        help="A model folder, the work folder of a run (`work/<recipe>`), or the name of a model that ships "
        "with medseg (`medseg models`); default: brain-tissue.",
    ),
]
Convention = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Other classes of the same model; of brain-tissue `all-csf` (one class of CSF) or `ibsr` (CSF "
        "is that of the ventricles, sulci are grey matter).",
    ),
]
Mode = Annotated[
    Literal["dense", "vote", "tiles", "gaussian"] | None,
    typer.Option(
        metavar="MODE",
        help="`dense` (whole slices), `vote` (of overlapping windows), `tiles` (overlap-tiles, for valid "
        "convolutions) or `gaussian` (blended windows); default: the model's own.",
    ),
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="`cpu`, `cuda`, `cuda:1`, …; auto takes a GPU if present.")
]
Runtime = Annotated[
    Literal["auto", "torch", "onnx", "openvino"] | None,
    typer.Option(
        metavar="RUNTIME",
        rich_help_panel=_RUNNING,
        help="What computes the network: torch, or a graph that `medseg export --runtime` wrote, by "
        "`onnx` or `openvino`. `auto` times each on two slices and takes the fastest.",
    ),
]
Precision = Annotated[
    Literal["fp32", "bf16", "int8"] | None,
    typer.Option(rich_help_panel=_RUNNING, help="What the network computes in; default fp32."),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        rich_help_panel=_RUNNING,
        help="The fastest runtime in any precision, and of whole slices 24 voxels around the foreground; "
        "what that changes is printed.",
    ),
]
AcceptDomain = Annotated[
    bool,
    typer.Option("--accept-domain", help="Segment scans unlike those of the training too; they need review."),
]

IncludeLabels = Annotated[
    bool,
    typer.Option(
        "--include-labels",
        rich_help_panel=_INPUTS,
        help="Also take files named like label maps (`_seg`, `_mask`, …).",
    ),
]
Channel = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATTERN",
        rich_help_panel=_INPUTS,
        help="The files of a channel below IN, as in a recipe: `t1={case}/anat/*_T1w.nii.gz`. Repeatable. "
        "Without it the model's own patterns are tried.",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="RECIPE",
        autocompletion=completion.recipes,
        rich_help_panel=_INPUTS,
        help="Find the cases below IN by this recipe's layout and patterns.",
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_INPUTS,
        help="A brain mask made elsewhere, on the scan's grid: nothing outside it is segmented. `{case}` "
        "stands for the case's name, as in `masks/{case}.nii.gz`.",
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip",
        rich_help_panel=_INPUTS,
        help="Cut the brain out of T1-weighted whole heads first, for a model of skull-stripped brains "
        "(extra `[strip]`); the results need review.",
    ),
]
Private = Annotated[
    bool,
    typer.Option(
        "--private",
        rich_help_panel=_INPUTS,
        help="Give plain files pseudonyms, too: no name of a file or folder is shown.",
    ),
]

ConfidenceMap = Annotated[
    bool,
    typer.Option(
        "--confidence-map",
        rich_help_panel=_RESULTS,
        help="Also write a confidence map: the difference of the two highest probabilities. Of a DICOM "
        "series also as a parametric map, `<case>.confidence.dcm`.",
    ),
]
Probabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities",
        rich_help_panel=_RESULTS,
        help="Also write the probability of each class, as `<case>_probabilities.nii.gz` with the classes on "
        "the fourth axis, in steps of 1/255. Of an image they are the pages of a TIFF; a DICOM series has "
        "a parametric map of each class, too, `<case>.probability_<n>.dcm`.",
    ),
]
Figure = Annotated[
    bool,
    typer.Option(
        rich_help_panel=_RESULTS,
        help="Draw `<case>_figure.png`, which `summary.html` shows: three planes of the scan with outlines "
        "of its classes. Not of images.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        rich_help_panel=_RESULTS,
        help="Make every result again, also those that are up to date.",
    ),
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        rich_help_panel=_RUNNING,
        help="Say what would be segmented, skipped and excluded; nothing is written.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=_RUNNING,
        help="Worker processes on this machine; one that dies takes no other scan along. 0 works in this "
        "process, without limits.",
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        rich_help_panel=_RUNNING,
        help="Threads of all workers together, never more than the quota; 0 for all there are.",
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=_RUNNING,
        help="Time for each step (read, predict, write) of a scan; 0 for none.",
    ),
]
MemoryLimit = Annotated[
    int | None,
    typer.Option(
        metavar="MB",
        min=1,
        rich_help_panel=_RUNNING,
        help="Memory of a worker; default: its share of the machine's.",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        rich_help_panel=_RUNNING,
        help="Memory of all processes together, `2GB`: batches and tiles are made to fit, and the plan is "
        "printed; one that is too small is refused with the smallest that is not.",
    ),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        rich_help_panel=_RUNNING,
        help="Time of the whole run, `30m`: no scan is begun that would not end in it, and the next run goes "
        "on. Exit code 3 while scans are left.",
    ),
]
Retry = Annotated[
    bool,
    typer.Option(
        "--retry",
        rich_help_panel=_RUNNING,
        help="Try again what failed in an earlier run and has not changed since.",
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        rich_help_panel=_RUNNING,
        help="Go on: segment what comes into IN, as soon as it has stopped growing.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="i/n", rich_help_panel=_RUNNING, help="Segment the i-th of n parts of the cases; run all n."
    ),
]
Executor = Annotated[
    Literal["local", "dask"],
    typer.Option(
        rich_help_panel=_RUNNING,
        help="Where cases are worked on: here, or by the workers of a Dask scheduler.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", rich_help_panel=_RUNNING, help="The Dask scheduler, `tcp://HOST:PORT`."),
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json-lines", rich_help_panel=_RUNNING, help="Print events as lines of JSON, for other programs."
    ),
]

Series = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE=VALUE",
        rich_help_panel=_DICOM,
        help="Change a rule by which series of DICOM exports are chosen: `modality`, `contrast`, `plane`, "
        "`description`, `min_slices` or `max_spacing_mm`, as in `contrast=t1,t1ce`, `modality=any`, or for "
        "one channel `flair.description=*dark*`. Repeatable.",
    ),
]
SegType = Annotated[
    Literal["binary", "labelmap"],
    typer.Option(
        rich_help_panel=_DICOM,
        help="The kind of DICOM SEG: a segment's voxels as bits (binary, which all viewers read), or all "
        "classes in one map (labelmap, smaller).",
    ),
]
