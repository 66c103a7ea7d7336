"""The code that MLflow keeps with a trained network and runs to load it (models from code: no pickle).

It is given to MLflow as a file, not imported by medseg. Loading needs medseg installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Segmenter(PythonModel):  # type: ignore[misc]
    """Labels the scans that a table names, through the same function as `medseg segment`."""

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """A row per case: its label map (a path below `params["out"]`), sizes, quality; or the code why not.

        Masks that may overlap have a path each, `label_map_<mask>`. The table has one column of paths per
        channel, named `image` if there is only one; an image holds all.
        """
        from medseg.infer import loading, results

        given = params or {}
        model = loading.load(Path(context.artifacts["model"]), device=given.get("device", "cpu"))
        out = Path(given.get("out", "segmentations"))
        out.mkdir(parents=True, exist_ok=True)
        cases = [_channels(row, model.description) for row in model_input.to_dict("records")]
        names = _names([next(iter(paths.values())) for paths in cases])
        rows = [
            _row(paths, model, results.label_map(out, name, model.description.unit))
            for paths, name in zip(cases, names, strict=True)
        ]
        return pd.DataFrame(rows)


def _channels(row: Mapping[Any, Any], about: Any) -> dict[str, Path]:
    if len(about.channels) == 1 or about.unit == "px":
        return dict.fromkeys(about.channels, Path(row["image"]))
    return {channel: Path(row[channel]) for channel in about.channels}


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's label map; a number is added to a name that comes again."""
    from medseg.io import scans

    names: list[str] = []
    for path in paths:
        stem = scans.stem(path)
        name, count = stem, 1
        while name in names:
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return names


def _row(paths: Mapping[str, Path], model: Any, out: Path) -> dict[str, Any]:
    from medseg.errors import MedsegError
    from medseg.infer import segment

    first = {"image": str(next(iter(paths.values())))}
    masks = model.description.class_list().masks
    columns = [f"label_map_{mask}" for mask in masks] or ["label_map"]
    try:
        made = segment.segment_file(paths, model, out)
    except MedsegError as refused:
        told = {"code": str(refused.code), "note": refused.finding.details}
        return {**first, **dict.fromkeys(columns, ""), **told}
    about = made.to_json()
    sizes = {f"size_{name}": float(value) for name, value in made.sizes.items()}
    maps = dict(zip(columns, map(str, made.label_paths), strict=True))
    told = {"code": "", "note": "; ".join(note["code"] for note in about["notes"])}
    return {**first, **maps, **told, **sizes, "size_unit": about["size_unit"], "quality": float(made.quality)}


set_model(Segmenter())
