"""`medseg segment --watch`: a folder that fills is looked at again and again, settled files are segmented."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer.batch import Outcome
from medseg.ingest.tree import files_under, refused_under
from medseg.io import scans
from medseg.model import folder as model_folder
from pipelines.commands import segment, segment_locks
from pipelines.commands.segment import Settings

LOOK_EVERY_S = 10.0
"""Seconds between two looks: a folder in which no file has changed between them has settled."""

_WHOLE = (".nii", ".nii.gz", ".mgz", ".mgh", *scans.SUFFIXES_OF["px"])
"""Suffixes of files that hold a whole scan or image."""

Stamps = Mapping[Path, tuple[str, int, int, bool]]


def run(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    say: Reporter,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> ExitCode:
    """Segment what comes into the folders until the command is stopped; `out` is held all the while.

    Files are taken once no file of their folder has changed between two looks; those that are a case by
    themselves once they have not changed. Ends with the exception that
    stops it; every time something has settled, the tables are written anew for all inputs so far.
    """
    segment.require_possible(settings)
    settings.execution.check()
    for path in paths:
        if not path.exists():
            raise MedsegError(Code.PATH_MISSING, path, "no such file or folder", "check the path")
    with segment_locks.hold(out, settings.shard):
        alone = len(model_folder.read(settings.model).description.channels) == 1
        known: dict[str, Outcome] = {}
        before: Stamps = {}
        taken: Stamps = {}
        say.line(f"watching every {LOOK_EVERY_S:g} s; stop with Ctrl-C or SIGTERM")
        while True:
            now = _look(paths, out)
            settled = _settled(before, now, alone=alone)
            if settled.items() - taken.items():
                _segment(paths, out, settings, say, settled, known)
                taken = settled
            before = now
            wait(LOOK_EVERY_S)


def _look(paths: Sequence[Path], out: Path) -> Stamps:
    """Size and time of each file that a run would come to, and whether it may be read."""
    stamps: dict[Path, tuple[str, int, int, bool]] = {}
    for path in paths:
        closed = [out, *(Path(finding.where) for finding in refused_under(path))]
        below = [path / name for name in files_under(path, closed)] if path.is_dir() else [path]
        for file in below:
            try:
                if file.is_file():
                    stamps[file] = (*files.stamp(file), os.access(file, os.R_OK))
            except OSError:  # gone again
                continue
    return stamps


def _settled(before: Stamps, now: Stamps, *, alone: bool) -> Stamps:
    """The files of folders in which nothing has changed between two looks.

    With `alone` a model has one channel, and a file that is a whole case need not wait for its folder.
    """
    changed = {file for file in now.keys() | before.keys() if now.get(file) != before.get(file)}
    folders = {file.parent for file in changed}
    return {
        file: stamp
        for file, stamp in now.items()
        if file not in changed
        and (file.parent not in folders or (alone and file.name.lower().endswith(_WHOLE)))
    }


def _segment(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    say: Reporter,
    settled: Stamps,
    known: dict[str, Outcome],
) -> None:
    """Segment what has settled; nothing usable yet is no reason to end."""
    absolute = {file.absolute() for file in settled}
    try:
        segment.segment_once(
            paths, out, settings, say, settled=lambda file: file.absolute() in absolute, known=known
        )
    except MedsegError as error:
        if error.code is not Code.NOTHING_USABLE:
            raise
