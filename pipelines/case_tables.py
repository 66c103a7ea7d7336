"""Readers of the tables that ingest wrote: cases, their files, their roles. Shared by the stages after it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.data import Data
from medseg.ingest import mask_files, splits
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.splits import SplitRow
from medseg.metrics.folder_pairs import LabelFiles


def case_files(row: dict[str, str]) -> CaseFiles:
    """A row of cases.csv as the paths it was read from."""
    channels, label = _paths(row["channels"]), row["label"]
    if label.startswith("{"):
        return CaseFiles(row["case"], row["subject"], channels, masks=_paths(label))
    return CaseFiles(row["case"], row["subject"], channels, Path(label) if label else None)


def label_cell(case: CaseFiles) -> str:
    """The cell `label` of cases.csv: a path; of masks the JSON of name → path; empty if not labelled."""
    return json.dumps({k: str(v) for k, v in case.masks.items()}) if case.masks else str(case.label or "")


def label_stamps(label: LabelFiles | None) -> Any:
    """Cheap signs that a label map, or each mask (of a folder, too), is unchanged; None if not labelled."""
    if label is None or isinstance(label, Path):
        if label is not None and label.is_dir():
            return [files.stamp(path) for path in mask_files.files_of(label)]
        return None if label is None else files.stamp(label)
    return {name: files.stamp(path) for name, path in label.items()}


def _paths(cell: str) -> dict[str, Path]:
    return {name: Path(path) for name, path in json.loads(cell).items()}


def label_form(data: Data) -> dict[str, Any]:
    """The keys of how label files write classes, for stages' hashes; nothing where they hold the values."""
    form: dict[str, Any] = {}
    if data.label_form != "values":
        form["label_form"] = [data.label_form, data.void_colours]
    if data.merge:
        form["merge"] = sorted(data.merge.items())
    if data.overlap != "refuse":
        form["overlap"] = data.overlap
    if data.regions:
        form["regions"] = data.class_list().file_values
    return form


def cases(ingest: Path) -> dict[str, dict[str, str]]:
    """Rows of cases.csv by case name."""
    return {row["case"]: row for row in files.read_csv(ingest / "cases.csv")}


def unit(ingest: Path) -> str:
    """The unit of the cases' grids: px where they are images, all of them, else mm."""
    return "px" if {row["unit"] for row in cases(ingest).values()} == {"px"} else "mm"


def roles(ingest: Path) -> list[SplitRow]:
    """Rows of splits.csv."""
    return splits.read(ingest / "splits.csv")


def used_cases(ingest: Path, of_roles: Sequence[str]) -> list[dict[str, str]]:
    """Rows of cases.csv that have one of these roles in some fold, in the order of cases.csv."""
    names = {r.case for r in roles(ingest) if r.role in of_roles}
    return [row for row in files.read_csv(ingest / "cases.csv") if row["case"] in names]
