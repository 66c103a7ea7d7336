"""Code that MLflow keeps with a trained network and runs to load it: models from code, without pickle.

MLflow gets it as a file; medseg never imports it. Loading needs medseg installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Segmenter(PythonModel):  # type: ignore[misc]
    """Segment the scans that a table names, case by case as `medseg segment` does."""

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Give a row for each case: its label map (below `params["out"]`), sizes, quality; or a code.

        Masks that may overlap have a path each, `label_map_<mask>`. The table has one column of paths per
        channel, named `image` if there is only one; an image holds all. A case is named after its first
        file, or by a column `case`; where two rows have one name, neither is used. What is done is skipped.
        Raises WORK_IN_USE while another command writes to the folder.
        """
        from medseg.infer import batch, loading

        given = params or {}
        model = loading.load(Path(context.artifacts["model"]), device=given.get("device", "cpu"))
        out = Path(given.get("out", "segmentations"))
        tasks = [_task(row, model.description, out) for row in model_input.to_dict("records")]
        labels = [task.label for task in tasks]
        with batch.lock(out):
            rows = [_row(task, model, labels.count(task.label) > 1) for task in tasks]
        return pd.DataFrame(rows)


def _task(row: Mapping[Any, Any], description: Any, out: Path) -> Any:
    from medseg.infer import batch, results
    from medseg.io import scans
    from medseg.names import check_name

    if len(description.channels) == 1 or description.unit == "px":
        channels = dict.fromkeys(description.channels, Path(row["image"]))
    else:
        channels = {channel: Path(row[channel]) for channel in description.channels}
    file = next(iter(channels.values()))
    named = row.get("case")
    name = check_name(named if isinstance(named, str) and named else scans.stem(file), file)
    label = results.label_map(out, name, description.unit)
    return batch.Task(name, channels, label, {"case": name, "file": str(file)})


def _row(task: Any, model: Any, is_duplicate: bool) -> dict[str, Any]:  # noqa: FBT001 - of one caller
    from medseg.errors import Code, Finding
    from medseg.infer import batch, results

    masks = model.description.class_list().masks
    columns = [f"label_map_{mask}" for mask in masks] or ["label_map"]
    if is_duplicate:
        how_to_fix = "name each case in a column `case`"
        details = f"several rows would be the case {task.case}: {how_to_fix}"
        outcome = batch.excluded(
            task, masks, Finding(Code.DUPLICATE_CASE, str(task.file), details, how_to_fix)
        )
    else:
        outcome = batch.run_or_exclude(task, model, batch.Settings())
    image = {"image": str(task.file)}
    if outcome.finding is not None:
        reason = {"code": str(outcome.finding.code), "note": outcome.finding.details}
        return {**image, **dict.fromkeys(columns, ""), **reason}
    metadata = outcome.metadata
    maps = dict(zip(columns, map(str, results.label_files(task.label, masks)), strict=True))
    notes = {"code": "", "note": "; ".join(note["code"] for note in metadata["notes"])}
    sizes = {f"size_{name}": float(size) for name, size in metadata["sizes"].items()}
    quality = {"size_unit": metadata["size_unit"], "quality": float(metadata["quality"])}
    return {**image, **maps, **notes, **sizes, **quality}


set_model(Segmenter())
