"""The resolved recipe in a work folder. It holds no path of a DICOM export, which may name a patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.ingest import privacy
from pipelines.workfolder import Work


def save(recipe: Recipe, work: Work) -> None:
    """Write the recipe; of a DICOM export the folder goes to `private/data_path` instead."""
    if recipe.data.layout == "dicom" and recipe.data.path is not None:
        privacy.write_private(work.data_path, str(recipe.data.path).encode())
        recipe = _with_path(recipe, None)
    load.save(recipe, work.recipe)


def read(work: Work, settings: Sequence[str] = (), data: Path | None = None) -> Recipe:
    """Read the recipe that :func:`save` wrote, with `settings` and `data` applied as by `load`."""
    recipe = load.load(str(work.recipe), settings, data)
    if recipe.data.layout == "dicom" and recipe.data.path is None and work.data_path.is_file():
        return _with_path(recipe, Path(work.data_path.read_bytes().decode()))
    return recipe


def _with_path(recipe: Recipe, path: Path | None) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": path})})
