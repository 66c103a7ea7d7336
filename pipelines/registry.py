"""A work folder's model in MLflow's model registry."""

from __future__ import annotations

from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.redaction import redacted
from medseg.tracking import store
from medseg.tracking.logged_model import register_model
from medseg.tracking.tracker import newest_model
from pipelines import saved_recipe
from pipelines.workfolder import Work


def register(work: Work, name: str, alias: str) -> str:
    """Make the model that the work folder's run logged last a version of `name`; give its `models:/` URI.

    Raises USAGE for a name that MLflow does not take, STAGE_MISSING if no model was logged,
    TRACKING_UNREACHABLE.
    """
    _check_name(name, "--register", "/:.%\"'")
    _check_name(alias, "--alias", "/: ")
    known = files.read_json(work.tracking) if work.tracking.is_file() else {}
    uri = _uri(work, known)
    client = store.client(uri)
    try:
        model = _logged_model(client, work, str(known["run_id"]))
        version = register_model(client, model, name, alias, is_local=store.is_local(uri))
    except MedsegError:
        raise
    except Exception as error:  # MLflow's, and whatever its drivers raise
        raise store.unreachable(uri, error) from None
    return f"models:/{name}/{version} at {redacted(uri)}, also models:/{name}@{alias}"


def _check_name(name: str, option: str, refused: str) -> None:
    is_version = name.lower() == "latest" or name.lower().removeprefix("v").isdecimal()
    reserved = option == "--alias" and is_version
    if not name.strip() or set(refused) & set(name) or reserved:
        raise MedsegError(Code.USAGE, option, f"MLflow takes no name {name!r}", "use letters, digits and -")


def _uri(work: Work, known: dict[str, Any]) -> str:
    """Give the address of the store that has the work folder's run."""
    how_to_fix = "run the recipe in this work folder with tracking.enabled: true"
    if not known.get("run_id"):
        raise MedsegError(Code.STAGE_MISSING, work.root, "its training is not tracked", how_to_fix)
    if remote := saved_recipe.read(work).tracking.uri:
        store.check(remote)
        return remote
    if not (work.root / store.DATABASE).is_file():
        raise MedsegError(Code.STAGE_MISSING, work.root, f"no {store.DATABASE} in this folder", how_to_fix)
    return store.prepare(work.root)


def _logged_model(client: Any, work: Work, run_id: str) -> Any:
    model_id = newest_model(client, run_id)
    if model_id is None:
        how_to_fix = "run the recipe in this work folder again"
        raise MedsegError(Code.STAGE_MISSING, work.root, "its run has no model in MLflow", how_to_fix)
    return client.get_logged_model(model_id)
