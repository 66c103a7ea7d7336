"""A model folder as MLflow keeps it: code and safetensors, no pickle, with its signature; registrable."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.classes import ClassList
from medseg.infer import results
from medseg.model.folder import CARD, MODEL_JSON
from medseg.tracking.store import StorageError, storing

_CODE = Path(__file__).with_name("mlflow_model.py")

ALIAS = "current"
"""Alias of the version that was registered last, where no other is given."""

MAX_PARAM = 500
"""Characters of a model's parameter."""

_NOTE = "mlflow.note.content"
_MOST_CHARACTERS = 5000
"""Characters that MLflow's registry keeps of a description."""


@dataclass(frozen=True)
class Logged:
    """Addresses of a model in MLflow, for `mlflow.pyfunc.load_model`; version and its URI if registered."""

    uri: str
    run_uri: str
    version: int | None
    registered_uri: str | None


def store_model(client: Any, line: Mapping[str, Any]) -> Logged:
    """Make the calls that log the model folder of a line (see :func:`medseg.tracking.pyfunc.log`)."""
    from mlflow.entities import LoggedModelOutput

    run_id, name, register = line["run_id"], line["name"], line["register"]
    folder = Path(line["folder"])
    model = client.create_logged_model(
        line["experiment_id"], name, source_run_id=run_id, tags=_tags(folder), params=_params(folder)
    )
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        _save(saved, folder, run_id, model.model_id)
        try:
            with storing():
                client.log_model_artifacts(model.model_id, str(saved))
        except StorageError:
            client.delete_logged_model(model.model_id)  # a later command makes another
            raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    version = (
        None
        if register is None
        else register_model(client, model, register, line.get("alias") or ALIAS, is_local=line["local"])
    )
    return Logged(
        uri=f"models:/{model.model_id}",
        run_uri=f"runs:/{run_id}/{name}",
        version=version,
        registered_uri=None if version is None else f"models:/{register}/{version}",
    )


def _save(path: Path, folder: Path, run_id: str, model_id: str) -> None:
    """Write an MLflow model folder; requirements and signature are given, never inferred."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*type hint", UserWarning)  # MLflow's, about its own code
        import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    description = files.read_json(folder / MODEL_JSON)["description"]
    columns = input_columns(description)
    ending = results.ENDINGS[description.get("unit", "mm")]
    mlflow.pyfunc.save_model(
        path=str(path),
        python_model=str(_CODE),
        artifacts={"model": str(folder.resolve())},
        signature=_signature(columns, ClassList.from_json(description["classes"])),
        input_example=pd.DataFrame([{column: f"path/to/{column}{ending}" for column in columns}]),
        pip_requirements=[f"medseg=={medseg.__version__}", f"mlflow=={mlflow.__version__}"],
        mlflow_model=Model(run_id=run_id, model_id=model_id),
    )


def input_columns(description: Mapping[str, Any]) -> list[str]:
    """List the columns of paths in the table that a model takes: one per channel, or `image` alone.

    With one channel it is `image`, as for images, which hold all channels. `description` is the one in
    `model.json`.
    """
    one = len(description["channels"]) == 1 or description.get("unit") == "px"
    return ["image"] if one else list(description["channels"])


def _signature(columns: Sequence[str], classes: ClassList) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    label_maps = [f"label_map_{mask}" for mask in classes.masks] or ["label_map"]
    texts = ["image", *label_maps, "code", "note"]
    sizes = [ColSpec(DataType.double, f"size_{name}", required=False) for name in classes.foreground_names]
    last = [
        ColSpec(DataType.string, "size_unit", required=False),
        ColSpec(DataType.double, "quality", required=False),
    ]
    case = ColSpec(DataType.string, "case", required=False)
    return ModelSignature(
        inputs=Schema([*(ColSpec(DataType.string, column) for column in columns), case]),
        outputs=Schema([*(ColSpec(DataType.string, column) for column in texts), *sizes, *last]),
        params=ParamSchema(
            [
                ParamSpec("out", DataType.string, "segmentations"),
                ParamSpec("device", DataType.string, "cpu"),
            ]
        ),
    )


def register_model(client: Any, model: Any, name: str, alias: str, *, is_local: bool) -> int:
    """Make a logged model a version of the registered model `name`, with an alias; return the version.

    A model that is a version already stays that version. `is_local` is for a sqlite store.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [v for v in client.search_model_versions(f"name='{name}'") if model.model_id in (v.source or "")]
    version = int(known[0].version) if known else _add_version(client, model, name, is_local=is_local)
    client.set_registered_model_alias(name, alias, str(version))
    return version


def _add_version(client: Any, model: Any, name: str, *, is_local: bool) -> int:
    card = model.tags.get(_NOTE, "")
    # A sqlite store would look a `models:/` URI up in whatever store MLflow thinks is active.
    source = model.artifact_location if is_local else f"models:/{model.model_id}"
    created = client.create_model_version(
        name, source, model.source_run_id, description=_cut(card), model_id=model.model_id
    )
    client.update_registered_model(name, _cut(card))
    # For the model's own page.
    listed = json.loads(model.tags.get("mlflow.modelVersions", "[]"))
    versions = json.dumps([*listed, {"name": name, "version": str(created.version)}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": versions})
    return int(created.version)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _tags(folder: Path) -> dict[str, str]:
    """Make the tags of a model: its card is the description on its page."""
    card = folder / CARD
    return {_NOTE: card.read_text(encoding="utf-8")} if card.is_file() else {}


def _params(folder: Path) -> dict[str, str]:
    """List what a model's page shows of its description: network, inputs, classes, weights."""
    model = files.read_json(folder / MODEL_JSON)
    description = model["description"]
    planes = description.get("plane", "")
    listed = {
        "network": description.get("network"),
        **{f"network.{key}": value for key, value in description.get("keywords", {}).items()},
        "parameters": model.get("parameters"),
        "members": len(model.get("members", [])),
        "channels": ", ".join(description["channels"]),
        "classes": ", ".join(row["name"] for row in description["classes"]),
        "plane": planes if isinstance(planes, str) else ", ".join(planes),
        "slices": description.get("depth"),
        "prediction mode": description.get("mode"),
    }
    return {key: str(value)[:MAX_PARAM] for key, value in listed.items() if value not in (None, "")}
