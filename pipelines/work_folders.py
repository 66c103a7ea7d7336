"""Work folders below other folders, and the stores that hold their runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.tracking import store
from pipelines import saved_recipe
from pipelines.workfolder import Work

_NOT_BELOW = {store.ARTIFACTS, "mlruns", "node_modules"}


@dataclass(frozen=True)
class Runs:
    """Places of the runs of some work folders: stores of their own, or addresses of servers."""

    own: tuple[Path, ...]
    servers: dict[str, Path]
    """Address → the newest work folder whose recipe names it."""


def runs_below(folders: Iterable[Path]) -> Runs:
    """Find the runs of all work folders that are or lie below `folders`.

    Raises USAGE for a folder that is missing, STAGE_MISSING if there are no runs.
    """
    listed = list(folders)
    for folder in listed:
        if not folder.is_dir():
            raise MedsegError(
                Code.USAGE, folder, files.why_no_folder(folder), "name a work folder, or one above some"
            )
    own: dict[Path, None] = {}
    servers: dict[str, Path] = {}
    for work in (work for folder in listed for work in _work_folders(folder)):
        uri = _server(work)
        if uri is not None:
            servers[uri] = max(
                work, servers.get(uri, work), key=lambda path: Work(path).tracking.stat().st_mtime
            )
        elif (work / store.DATABASE).is_file():
            own.setdefault(work.resolve())
    if not own and not servers:
        where = ", ".join(map(str, listed))
        how_to_fix = "train first: `medseg run RECIPE --work W` or `medseg demo`"
        raise MedsegError(Code.STAGE_MISSING, where, "no runs here, nor in a work folder below", how_to_fix)
    return Runs(tuple(own), servers)


def experiment_of(work: Path) -> str:
    """Give the id of the experiment at the server that holds a work folder's run."""
    return str(files.read_json(Work(work).tracking)["experiment_id"])


def _work_folders(folder: Path) -> Iterator[Path]:
    """Walk down to the work folders, through links, too; what is inside one is not looked at."""
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        is_work = store.DATABASE in names or Work(here).tracking.name in names
        if is_work or here.resolve() in seen:
            folders.clear()
        else:
            folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in _NOT_BELOW)
        seen.add(here.resolve())
        if is_work:
            yield here


def _server(work: Path) -> str | None:
    """Give the address of the server that tracks a work folder's runs; None if they are its own."""
    if not (Work(work).recipe.is_file() and Work(work).tracking.is_file()):
        return None
    return saved_recipe.read(Work(work)).tracking.uri
