"""Series by their origin: data sets of one series UID, but of two patients, studies or spaces, are apart.

A UID is unique by the standard. Programs that pseudonymise, and phantoms, give one to several patients or
visits all the same: their slices must never share a volume.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from medseg.io.dicom.frames import FileHeader

_ORIGINS = (("patient", "patient"), ("study", "study_uid"), ("frame of reference", "frame_of_reference"))
"""Names of what all slices of a volume share, and the attributes that tell them."""


def by_origin(headers: Sequence[FileHeader]) -> Iterator[tuple[str, list[FileHeader]]]:
    """Yield the headers of each series; the label is empty where a series has one origin: `patient 2`."""
    by_series: dict[Any, list[FileHeader]] = defaultdict(list)
    for header in headers:
        by_series[header.series_uid or (header.study_uid, header.series_number)].append(header)
    for series in by_series.values():
        yield from _split(series, 0)


def _split(series: list[FileHeader], level: int) -> Iterator[tuple[str, list[FileHeader]]]:
    if level == len(_ORIGINS):
        yield "", series
        return
    name, attribute = _ORIGINS[level]
    stated = {value for header in series if (value := getattr(header, attribute))}
    if len(stated) < 2 or len(stated) == len(series):  # some writers make a new UID for each file
        yield from _split(series, level + 1)
        return
    groups: dict[str, list[FileHeader]] = defaultdict(list)
    for header in series:
        groups[getattr(header, attribute)].append(header)
    for number, value in enumerate(sorted(groups), 1):
        for label, part in _split(groups[value], level + 1):
            yield ", ".join(filter(None, (f"{name} {number}", label))), part
