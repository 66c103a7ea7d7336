"""Facts at the head of a run's report: its data, model, training and machine, in words."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import medseg
from medseg import files
from medseg.device import choose, in_words
from medseg.model.description import Description
from medseg.report import html
from medseg.report.html import counted
from pipelines.job import Job

MOST_NAMES = 24

ALL_TRAINED = (
    "All labelled cases were trained on (data.splits: all), so none is left to score: this report cannot say "
    "how well the model segments scans that it has not seen. A run with other splits can."
)


def facts(job: Job, model: dict[str, Any], evaluated: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Gather the facts by heading: `model` is the content of model.json, `evaluated` evaluation's record."""
    data = files.read_json(job.work.ingest / "dataset.json")
    train, description = job.recipe.train, model["description"]
    batch = train.batch * train.accumulate
    shuffled = job.recipe.sampling.order == "shuffled"
    keywords = ", ".join(f"{key}={value}" for key, value in description["keywords"].items())
    length = "every case once" if shuffled else counted(train.steps_per_epoch, "step")
    return {
        "Data": {
            "name": data["name"],
            "layout": data["layout"],
            "channels": ", ".join(data["channels"]),
            "classes": _shortened([c["name"] for c in data["classes"]]),
            "cases": f"{data['usable']} usable, {data['labelled']} labelled, {data['excluded']} excluded",
        },
        "Model": {
            "network": description["network"] + (f" ({keywords})" if keywords else ""),
            "parameters": f"{model['parameters']:,}",
            "folds of the ensemble": ", ".join(m["name"] for m in model["members"]),
            "input": _input(description),
            "prediction mode": description["mode"],
            **_ensemble_facts(model),
        },
        "Training": {
            "length": f"{counted(train.epochs, 'epoch')} × {length}, batch size {batch}",
            **_planned(job),
            "optimiser": f"{train.optimiser}, learning rate {train.lr:g}, {train.schedule}",
            "loss": f"{job.recipe.loss.name}, class weights {job.recipe.loss.class_weights}",
            "seed": str(train.seed),
            "precision": train.precision,
            **_initial_weights(description),
        },
        "Run": {
            "finished": html.date(evaluated["finished"]) if "finished" in evaluated else "",
            "medseg": medseg.__version__,
            "torch": str(importlib.metadata.version("torch")),
            "device": in_words(choose("auto")),
        },
    }


def _planned(job: Job) -> dict[str, str]:
    """The speed that the length was planned by, if `train.minutes` planned it."""
    if job.recipe.train.minutes is None or not job.work.train_length.is_file():
        return {}
    planned = files.read_json(job.work.train_length)
    speed = f"{1000 * planned['seconds_of_step']:.3g} ms a step on {planned['device']}"
    return {"planned by": f"train.minutes {planned['minutes']:g}, at {speed}"}


def why_unscored(job: Job) -> str:
    """The sentence that stands for scores where there are none."""
    return ALL_TRAINED if job.recipe.data.splits == "all" else html.NO_REFERENCE


def _ensemble_facts(model: dict[str, Any]) -> dict[str, str]:
    """The rule that joins folds and planes, where there are several, and the thresholds of masks."""
    description = Description.model_validate(model["description"])
    several = len(model["members"]) > 1 or len(description.planes) > 1
    rule = {"folds and planes joined by": "votes" if description.ensemble == "vote" else "mean probability"}
    thresholds = ", ".join(f"{name} {value:g}" for name, value in description.mask_thresholds().items())
    return {**(rule if several else {}), **({"thresholds": thresholds} if thresholds else {})}


def _initial_weights(description: dict[str, Any]) -> dict[str, str]:
    """The sources of the initial weights, each once; nothing where all weights were drawn at random."""
    sources = dict.fromkeys(
        str(t["started from"]) for t in description["trained"].values() if "started from" in t
    )
    return {"initial weights": "; ".join(sources)} if sources else {}


def _shortened(names: list[str]) -> str:
    """The names; of a long list the first ones."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1} more"


def _input(description: dict[str, Any]) -> str:
    if description.get("unit") == "px":
        return f"images of {counted(len(description['channels']), 'channel')}"
    plane, depth = description["plane"], description["depth"]
    planes = plane if isinstance(plane, str) else ", ".join(plane)
    return f"{depth} adjacent slices (2.5D), {planes}" if depth > 1 else f"single slices, {planes}"
