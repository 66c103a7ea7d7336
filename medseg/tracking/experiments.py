"""An experiment of training runs, and the view `scores` that its link opens with."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

VIEW = "scores"

SHOWN_METRICS = (
    "test_dice_mean",
    "test_hd95_mean",
    "test_mIoU",
    "test_IoU_mean",
    "val/dice_mean",
    "val/miou",
    "train/loss",
)
"""Columns of the view that hold scores, where the runs have them."""

SHOWN_TAGS = ("network", "data set")
"""Tags that are columns of the view, after the scores."""

_FIRST = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
"""Columns that MLflow always shows, by its own names."""

_WIDTH = 130  # pixels: MLflow's own width cuts names of metrics

_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
_KIND_TAG = "mlflow.experimentKind"
_KIND_OF_WORK = "workflowType=machine_learning"
_KIND = "custom_model_development"


def open_experiment(client: Any, name: str, place: str | None) -> str:
    """Give the id of the experiment `name`, made with its view if need be, or restored if it was deleted.

    `place` is the URI for the files of a new experiment; None leaves it to the server.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location=place, tags=tags()))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    ensure_view(client, experiment)
    return str(experiment.experiment_id)


def ensure_view(client: Any, experiment: Any) -> None:
    """Give an experiment the view of scores, where an earlier version has made it."""
    if _columns(experiment.tags.get(_VIEW_TAG)) != _state():
        for key, value in tags().items():
            client.set_experiment_tag(experiment.experiment_id, key, value)


def tags() -> dict[str, str]:
    """Make the tags of an experiment: its kind, and the view with the columns of scores."""
    view = {"name": VIEW, "createdAt": int(time.time() * 1000), "state": json.dumps(_state())}
    return {_KIND_TAG: _KIND, _VIEW_TAG: json.dumps(view)}


def runs_page(client: Any) -> str:
    """Give the path, after the host, of the page with the runs of the newest experiment, and their scores.

    Where the store has several experiments, the page is the one with the runs of all of them.
    """
    listed = client.search_experiments(order_by=["last_update_time DESC"])
    for experiment in listed:
        ensure_view(client, experiment)
    if len(listed) == 1:
        return experiment_page(listed[0].experiment_id)
    if not listed:
        return f"#/experiments?{_KIND_OF_WORK}"
    ids = json.dumps([experiment.experiment_id for experiment in listed], separators=(",", ":"))
    return f"#/compare-experiments/s?experiments={quote(ids)}&{_KIND_OF_WORK}"


def experiment_page(experiment_id: str) -> str:
    """Give the path, after the host, of the page with an experiment's runs, by the view of scores."""
    return f"#/experiments/{experiment_id}/runs?{_KIND_OF_WORK}&viewStateShareKey={VIEW}"


def _state() -> dict[str, Any]:
    metrics = [f"metrics.`{name}`" for name in SHOWN_METRICS]
    columns = [*metrics, *(f"tags.`{name}`" for name in SHOWN_TAGS)]
    return {
        "selectedColumns": columns,
        "columnOrder": [*_FIRST, *columns],
        "columnWidths": dict.fromkeys(columns, _WIDTH),
    }


def _columns(view: str | None) -> Any:
    """Read the state of a saved view; None for one that is missing or none of ours."""
    try:
        return json.loads(json.loads(view or "{}").get("state", "null"))
    except (AttributeError, TypeError, json.JSONDecodeError):
        return None
