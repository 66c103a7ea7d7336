"""`medseg ui`: the MLflow UI of a work folder, on this machine, until Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path

from medseg.tracking import ui


def run(work: Path, port: int, host: str) -> None:
    """Print the address of the experiment's training runs and wait."""
    sys.stdout.write(f"starting the MLflow UI for {work} …\n")
    sys.stdout.flush()
    server = ui.serve(work, port, host)
    try:
        sys.stdout.write(f"open {server.address}\nCtrl-C stops it\n")
        sys.stdout.flush()
        server.wait()
    finally:
        server.stop()
