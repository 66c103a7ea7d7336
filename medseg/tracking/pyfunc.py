"""Log a model folder with a run, so that it can be loaded by URI.

log(run, folder, register="ibsr18")      # then, anywhere: mlflow.pyfunc.load_model("models:/ibsr18/1")

"""

from __future__ import annotations

from pathlib import Path

from medseg.tracking import store
from medseg.tracking.logged_model import Logged, store_model
from medseg.tracking.tracker import Run


def log(
    run: Run, folder: Path, *, name: str = "model", register: str | None = None, alias: str | None = None
) -> Logged | None:
    """Log the model folder `folder` with `run`, and register it as `register` if named.

    Its version gets the alias `alias`, by default `current`.
    None if the run is not tracked, or if the store is lost; then the model is logged by a later command.
    """
    line = {
        "kind": "model",
        "run_id": run.id,
        "experiment_id": run.experiment_id,
        "folder": str(folder.resolve()),
        "name": name,
        "register": register,
        "alias": alias,
        "local": store.is_local(str(run.link.uri)),
    }
    if not run.id:
        return None
    logged = run.link.ask(lambda client: store_model(client, line), default=None, stores_files=True)
    if logged is None and (run.link.lost or run.link.files_lost):
        run.link.keep(line)
    return logged
