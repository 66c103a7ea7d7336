"""An empty MLflow database, kept in the user's cache folder: MLflow makes one by 70 migrations, in seconds.

There is one for each version of MLflow. The sha256 in its name vouches for its content; one that does not
match, or cannot be read, is as good as none. It names no path of the folder for which it was made.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from medseg import files
from medseg.errors import MedsegError

CACHE = "MEDSEG_CACHE"
"""Environment variable that names another cache folder than `$XDG_CACHE_HOME/medseg` or `~/.cache/medseg`."""


def cache_folder() -> Path:
    """Give the folder in which files are kept that can be made again. Raises RuntimeError without a home."""
    if named := os.environ.get(CACHE):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "medseg"


def copy_to(database: Path) -> bool:
    """Copy the empty database for the installed MLflow to a path; False if there is none that is whole."""
    with suppress(OSError, RuntimeError):  # no home, or a cache that may not be used
        for kept in sorted(cache_folder().glob(f"{_prefix()}*.db")):
            shutil.copyfile(kept, database)
            if files.sha256(database) == kept.stem.removeprefix(_prefix()):
                return True
            kept.unlink()
    return False


def keep(database: Path) -> None:
    """Keep a copy of an empty database for later; what fails costs later commands some seconds only."""
    with suppress(OSError, RuntimeError, MedsegError):
        kept = cache_folder() / f"{_prefix()}{files.sha256(database)}.db"
        with files.written_aside(kept, 0o600) as part:
            shutil.copyfile(database, part)


def _prefix() -> str:
    return f"mlflow-{metadata.version('mlflow')}-"
