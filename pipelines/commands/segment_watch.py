"""`medseg segment --watch`: a folder that fills is looked at again and again, settled files are segmented."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer.batch import Outcome
from pipelines.commands import segment, segment_locks
from pipelines.commands.segment import Settings

LOOK_EVERY_S = 10.0
"""Seconds between two looks: a folder in which no file has changed between them has settled."""

Stamps = Mapping[Path, tuple[str, int, int]]


def run(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    say: Reporter,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> ExitCode:
    """Segment what comes into the folders until the command is stopped; `out` is held all the while.

    Files are taken once no file of their folder has changed between two looks. Ends with the exception that
    stops it; every time something has settled, the tables are written anew for all inputs so far.
    """
    segment.require_possible(settings)
    for path in paths:
        if not path.exists():
            raise MedsegError(Code.PATH_MISSING, path, "no such file or folder", "check the path")
    with segment_locks.hold(out, settings.shard):
        known: dict[str, Outcome] = {}
        before: Stamps = {}
        taken: Stamps = {}
        say.line(f"watching every {LOOK_EVERY_S:g} s; stop with Ctrl-C or SIGTERM")
        while True:
            now = _look(paths, out)
            settled = _settled(before, now)
            if settled and settled != taken:
                _segment(paths, out, settings, say, settled, known)
                taken = settled
            before = now
            wait(LOOK_EVERY_S)


def _look(paths: Sequence[Path], out: Path) -> Stamps:
    """Size and time of each file that is there."""
    stamps: dict[Path, tuple[str, int, int]] = {}
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            try:
                if file.is_file() and not file.is_relative_to(out):
                    stamps[file] = files.stamp(file)
            except OSError:  # gone again
                continue
    return stamps


def _settled(before: Stamps, now: Stamps) -> Stamps:
    """The files of folders in which nothing has changed between two looks."""
    unsettled = {file.parent for file in now.keys() | before.keys() if now.get(file) != before.get(file)}
    return {file: stamp for file, stamp in now.items() if file.parent not in unsettled}


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
