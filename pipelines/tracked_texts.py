"""Words of a run in MLflow: its name, its tags and its description, made from the recipe."""

from __future__ import annotations

import platform
from pathlib import Path

from medseg.config.recipe import Recipe
from medseg.redaction import redact_text

_ORDINARY = {"data", "raw", "images", "scans", "subjects", "dataset", "train", "training", "nifti", "niftis"}
"""Names of folders that say nothing about what is in them."""

_MOST_CHARACTERS = 1500
_EDITORS = "yaml-language-server"
_OF_INIT = ("Made by `medseg init", "Read it once, then:", "Note:")
"""Beginnings of lines that `medseg init` writes at the head of a recipe."""


def run_name(work: Path) -> str:
    """Name the run of a work folder after it."""
    return work.resolve().name or "run"


def data_name(recipe: Recipe) -> str:
    """Name the data set after its folder; after the recipe where that says nothing, or may name a patient."""
    path = recipe.data.path
    if recipe.data.layout == "dicom" or path is None or path.name.lower() in _ORDINARY | {""}:
        return recipe.name
    return path.name


def tags(recipe: Recipe) -> dict[str, str]:
    """Make the tags that readers look for."""
    named = {"recipe": recipe.name, "data set": data_name(recipe), "network": recipe.network.name}
    return {**named, "host": platform.node()} if recipe.tracking.host and platform.node() else named


def header(recipe: Path) -> str:
    """Read the comment that a recipe's file begins with; empty without one.

    Lines of `medseg init` are left out: they name the folder of the data on this machine.
    """
    lines: list[str] = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").rstrip()
        if _EDITORS not in line and not text.startswith(_OF_INIT):
            lines.append(text)
    text = redact_text("\n".join(lines).strip())
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def description(recipe: Recipe, comment: str) -> str:
    """Write a run's description in Markdown: the recipe's own, else its file's comment; then the facts.

    The comment of a recipe for a DICOM export is left out: `medseg init` names the export there, and its path
    may name a patient.
    """
    if recipe.data.layout == "dicom":
        comment = ""
    own = (
        recipe.description
        or comment.replace("\n", "  \n")
        or f"{recipe.network.name} on {data_name(recipe)}: {_aim(recipe)}."
    )
    classes = "" if recipe.reconstructs else f" → {_classes(recipe)}"
    facts = {
        "data": f"{data_name(recipe)}: {', '.join(recipe.data.channel_names())}{classes}",
        "network": f"{recipe.network.name}, {_input(recipe)}",
        "training": _training(recipe),
    }
    return own + "\n\n" + "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items())


def _aim(recipe: Recipe) -> str:
    return "gives scans again" if recipe.reconstructs else f"segments {_classes(recipe)}"


def _classes(recipe: Recipe) -> str:
    names = recipe.data.class_list().foreground_names
    return ", ".join(names) if len(names) <= 12 else f"{len(names)} classes"


def _input(recipe: Recipe) -> str:
    sampling = recipe.sampling
    planes, depth = ", ".join(sampling.planes), sampling.depth
    slices = f"{depth} adjacent slices (2.5D)" if depth > 1 else "single slices"
    return f"{slices}, {planes}"


def _training(recipe: Recipe) -> str:
    train = recipe.train
    each = (
        "every case once" if recipe.sampling.order == "shuffled" else _counted(train.steps_per_epoch, "step")
    )
    rate = f"{train.optimiser}, learning rate {train.lr:g}"
    length = f"{_counted(train.epochs, 'epoch')} × {each}"
    if train.minutes is not None:
        length = f"{train.minutes:g} min"
    return f"{length}, batch {train.batch * train.accumulate}, {rate}, loss {recipe.loss.name}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
