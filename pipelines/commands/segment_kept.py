"""Results of earlier runs whose inputs are not there any more: they are kept, and a row says so."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from medseg.infer import results
from medseg.model.description import Description

STATUS = "kept"
"""Status of a result of an earlier run whose input is not among those of this one."""

_NOTE = "made by an earlier run; its input is not among those of this one"


def rows(
    out: Path,
    cases: Collection[str],
    description: Description,
    holds: Callable[[str], bool],
    *,
    private: bool,
) -> list[dict[str, Any]]:
    """Rows of `summary.csv` for the whole results in ``out`` of other cases than these, as ``holds`` says.

    With ``private`` those are left out whose cases are named after their files.
    """
    classes = description.class_list()
    kept = []
    for path, case in results.metadata_files(out).items():
        if path.parent != out or case in cases or not holds(case):
            continue
        label = path.with_name(f"{case}{results.ENDINGS[description.unit]}")
        metadata = results.whole_metadata(label, masks=classes.masks)
        file = None if metadata is None else metadata.get("file")
        if metadata is None or not isinstance(file, str) or (private and file != case):
            continue
        row = results.table_row(case, Path(file), STATUS, metadata, None, classes)
        kept.append({**row, "note": "; ".join(filter(None, (_NOTE, row["note"])))})
    return kept
