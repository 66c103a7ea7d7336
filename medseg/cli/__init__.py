"""The `medseg` command: groups of commands, and the one place where every command ends.

Heavy imports stand inside the commands, so that `medseg --help` answers at once.
"""

from __future__ import annotations

import sys

from medseg import process
from medseg.cli.app import app
from medseg.cli.exits import end_well

# Each module adds its commands to the app, in the order of the help page.
from medseg.cli import run, segment, push, scores, data, inspection  # noqa: F401 isort:skip


def main() -> None:
    """Entry point of the console script."""
    process.prepare()
    sys.exit(end_well(app))
