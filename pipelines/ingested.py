"""Reading back what ingest wrote: cases, their files, their roles. Shared by the stages after it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import Data
from medseg.ingest import masks, splits
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.splits import SplitRow


def case_files(row: dict[str, str]) -> CaseFiles:
    """A row of cases.csv as the paths it was read from."""
    channels = {name: Path(path) for name, path in json.loads(row["channels"]).items()}
    return CaseFiles(row["case"], row["subject"], channels, Path(row["label"]) if row["label"] else None)


def label_form(data: Data) -> dict[str, Any]:
    """What stages hash of how label files write classes; nothing where they hold values."""
    held: dict[str, Any] = {}
    if data.label_form != "values":
        held["label_form"] = [data.label_form, data.void_colours]
    if data.merge:
        held["merge"] = sorted(data.merge.items())
    return held


def label_stamp(label: Path) -> Any:
    """A cheap sign that a label file, or every mask of a folder, is unchanged."""
    if label.is_dir():
        return [files.stamp(path) for path in masks.files_of(label)]
    return files.stamp(label)


def cases(ingest: Path) -> dict[str, dict[str, str]]:
    """Rows of cases.csv by case name."""
    return {row["case"]: row for row in files.read_csv(ingest / "cases.csv")}


def unit(ingest: Path) -> str:
    """What the cases' grids are measured in: px where they are images, all of them, else mm."""
    return "px" if {row["unit"] for row in cases(ingest).values()} == {"px"} else "mm"


def roles(ingest: Path) -> list[SplitRow]:
    """Rows of splits.csv."""
    return splits.read(ingest / "splits.csv")


def used_cases(ingest: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Rows of cases.csv that have one of the `wanted` roles in some fold, in the order of cases.csv."""
    names = {r.case for r in roles(ingest) if r.role in wanted}
    return [row for row in files.read_csv(ingest / "cases.csv") if row["case"] in names]
