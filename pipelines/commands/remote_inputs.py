"""Inputs that are addresses of studies, `dicomweb://…`: fetched into a private folder for one command.

They are fetched anew at every run and removed at its end: a copy that was kept could be older than the study,
and would be a second place of a patient's images. Results that are up to date are skipped all the same.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.ingest import privacy
from medseg.io.dicom import addresses

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_EVERY_S = 15.0


def is_address(text: str) -> bool:
    """True for an input that is no path but an address, of whatever kind."""
    return _ADDRESS.match(text) is not None


@contextmanager
def fetched(
    inputs: Sequence[str], out: Path | None, credentials_file: Path | None, say: Reporter
) -> Iterator[list[Path]]:
    """Give the inputs as paths; studies are fetched below ``out/private``, and removed when the block ends.

    Without ``out`` they go to the system's temporary folder. Raises USAGE for other addresses, WORK_IN_USE if
    another command fetches into ``out``, and as :func:`dicomweb.fetch` does.
    """
    wheres = [f"IN {number}" for number in range(1, len(inputs) + 1)]
    studies = {
        where: addresses.parse_study(text, where)
        for where, text in zip(wheres, inputs, strict=True)
        if is_address(text)
    }
    if not studies:
        if credentials_file is not None:
            details, how_to_fix = "no input is a study on a server", "leave it out, or name dicomweb://…"
            raise MedsegError(Code.USAGE, "--credentials", details, how_to_fix)
        yield [Path(text) for text in inputs]
        return
    from medseg.io.dicom import credentials, dicomweb

    allowed = credentials.load(credentials_file, os.environ)
    with _private_folder(out) as folder:
        paths = {}
        for where, study in studies.items():
            place = paths[where] = folder / where.replace(" ", "-")
            place.mkdir(mode=0o700)
            if study.server.is_exposed:
                say.line(f"{where}: the connection is not encrypted (dicomwebs:// is)")
            count = dicomweb.fetch(study, place, allowed, where, _at_intervals(where, say))
            say.line(f"{where}: {count} files fetched")
        yield [paths.get(where, Path(text)) for where, text in zip(wheres, inputs, strict=True)]


@contextmanager
def _private_folder(out: Path | None) -> Iterator[Path]:
    """An empty folder (mode 0700), removed at the end; below ``out`` its path is the same at every run."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="medseg-") as temporary:
            yield Path(temporary)
        return
    private = out / privacy.FOLDER
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    folder = private / "fetched"
    how_to_fix = "wait for it to end, or name another folder for OUT"
    with files.hold_lock(private / ".lock", out, "another medseg command fetches into it", how_to_fix):
        shutil.rmtree(folder, ignore_errors=True)  # what a kill left
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _at_intervals(where: str, say: Reporter) -> Callable[[int, int], None]:
    """Print how much has come every 15 s; a server does not tell how much there is."""
    last = time.monotonic()

    def progress(count: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last > _EVERY_S:
            last = time.monotonic()
            say.line(f"{where}: {count} files, {size / 2**20:.0f} MiB so far")

    return progress
