"""`medseg ui`: MLflow's pages on the runs of work folders, on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from medseg.redaction import redacted
from medseg.tracking import experiments, ui
from medseg.tracking.combined import Combined
from pipelines.work_folders import Runs, experiment_of, runs_below

LOOK_EVERY_S = 10.0
"""Time between two looks at the work folders for new runs."""


def run(folders: Sequence[Path], port: int, host: str, *, browser: bool = True) -> None:
    """Show the runs of all work folders that are or lie below `folders`.

    Those of one folder are its own store; those of several are read into a store of this command, and read
    again when they have changed. Runs that a server tracks are shown by that server.
    """
    runs = runs_below(folders)
    for uri, work in runs.servers.items():
        if not runs.own and len(runs.servers) == 1 and not _is_http(uri):
            _serve(work, uri, port, host, browser=browser)  # a database
        else:
            _open_server(uri, work, browser=browser and not runs.own)
    if len(runs.own) == 1:
        _serve(runs.own[0], None, port, host, browser=browser)
    elif runs.own:
        _serve_several(runs, port, host, browser=browser)


def _open_server(uri: str, work: Path, *, browser: bool) -> None:
    """Say where the server is that has a work folder's runs, and open its page of them."""
    if not _is_http(uri):
        _say(f"{work}: its runs are in the store {redacted(uri)}; `medseg ui {work}` shows that")
        return
    address = f"{uri.rstrip('/')}/{experiments.experiment_page(experiment_of(work))}"
    _say(f"{work}: its runs are on a server, open {address}")
    if browser:
        ui.open_browser(address, os.environ)


def _is_http(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _serve_several(runs: Runs, port: int, host: str, *, browser: bool) -> None:
    """Serve the runs of several work folders by a store that goes with this command."""
    with tempfile.TemporaryDirectory(prefix="medseg-ui-") as folder:
        _say(f"reading the runs of {len(runs.own)} work folders …")
        combined = Combined(runs.own, Path(folder))
        uri = combined.create()
        for work, reason in combined.unread.items():
            _say(f"{work}: its runs are left out: {reason}")
        _say("new runs appear by themselves; what you change on these pages is kept nowhere")
        _serve(Path(folder), uri, port, host, browser=browser, combined=combined)


def _serve(
    work: Path, uri: str | None, port: int, host: str, *, browser: bool, combined: Combined | None = None
) -> None:
    """Start the server, say where it is, and wait until it or the user ends it."""
    _say(f"waiting for MLflow's server at port {port}: about 10 s, more on a busy machine …")
    started = time.monotonic()
    server = ui.serve(work, port, host, uri=uri)
    try:
        _say(f"it answers after {time.monotonic() - started:.0f} s")
        opened = browser and host == ui.HOST and ui.open_browser(server.address, os.environ)
        _say(f"{'opened' if opened else 'open'} {server.address}\nCtrl-C stops it")
        pause: float | None = None if combined is None else LOOK_EVERY_S
        while server.wait(pause) is None and combined is not None:
            looked = time.monotonic()
            if changed := combined.refresh():
                _say(f"new in {', '.join(sorted(work.name for work in changed))}")
            pause = max(LOOK_EVERY_S, 5 * (time.monotonic() - looked))
    finally:
        server.stop()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
