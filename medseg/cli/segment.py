"""`medseg segment`: needs the core alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.app import Quiet, Verbose, app, reporter
from medseg.errors import ExitCode


@app.command(rich_help_panel="Use a trained model")
def segment(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN…", help="Scans (or images), or their folders.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for label maps and summary.csv.")],
    model: Annotated[
        Path, typer.Option("--model", metavar="M", help="A model folder (`work/<recipe>/model`).")
    ],
    mode: Annotated[
        Literal["dense", "vote", "tiles", "gaussian"] | None,
        typer.Option(
            help="Whole slices, votes of overlapping windows, overlap-tiles (valid convolutions), or windows "
            "blended by Gaussian weights; default: as the model says."
        ),
    ] = None,
    confidence_map: Annotated[
        bool, typer.Option("--confidence-map", help="Also write how sure each voxel is (first minus second).")
    ] = False,
    device: Annotated[
        str, typer.Option(help="`cpu`, `cuda`, `cuda:1`, …; auto takes a GPU if present.")
    ] = "auto",
    labels_too: Annotated[
        bool,
        typer.Option("--include-labels", help="Also take files named like label maps (`_seg`, `_mask`, …)."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Label scans or images with a trained model; run again, what is done is skipped.

    Writes `OUT/<case>.nii.gz` on the scan's own grid (`<case>.png` of an image), `<case>.json`,
    `labels.json`, `summary.csv`, `quarantine.csv` and `run.json`. Exit code 3: some inputs were excluded
    (see `quarantine.csv`).
    """
    from pipelines.commands import segment as pipeline

    settings = pipeline.Settings(model, mode, confidence_map, device, labels_too)
    return pipeline.run(inputs, out, settings, reporter(out, quiet=quiet, verbose=verbose))
