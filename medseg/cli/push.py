"""`medseg push`: the one command that sends something to another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.app import app, reporter
from medseg.cli.exits import needs_extra
from medseg.cli.options import CredentialsFile, Quiet, Verbose
from medseg.errors import ExitCode


@app.command(rich_help_panel="Use a trained model")
def push(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that `medseg segment` wrote.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="`https://host[:port]/dicom-web` (DICOMweb, STOW-RS) or `dicom://AET@host:port` (C-STORE).",
        ),
    ],
    credentials: CredentialsFile = None,
    calling_aet: Annotated[
        str,
        typer.Option("--calling-aet", metavar="AET", help="For C-STORE: the title of this side."),
    ] = "MEDSEG",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Send the DICOM results of a folder (`<case>.seg.dcm`, `<case>.sr.dcm`) to a server.

    A file whose sha256 is not the one in `<case>.json` is not sent. Each file ends as sent, already there or
    failed with a code, in `OUT/push.csv`; a second run sends what is left.

    A DICOMweb server's user and password, or token, come from --credentials FILE, or from the environment:
    `MEDSEG_DICOMWEB_USER` and `MEDSEG_DICOMWEB_PASSWORD`, or `MEDSEG_DICOMWEB_TOKEN`. The file is
    `{"user": "…", "password": "…"}` or `{"token": "…"}`, mode 600. Exit code 3: some files failed; 4: all.

    Example: `medseg push OUT --to https://pacs.example/dicom-web`
    """
    needs_extra("dicom")
    from pipelines.commands import push as pipeline

    say = reporter(out, quiet=quiet, verbose=verbose)
    return pipeline.run(out, to, credentials, calling_aet, say)
