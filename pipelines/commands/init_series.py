"""`medseg init` on a DICOM export: which series are of one sort, and the rules of a recipe that choose them.

A series is told by its modality and description, whatever its case, underscores and lone numbers: `T1_sag 2`
is of one sort with `t1 SAG 5`. Segmented series that are called differently are of one sort, too, where a
study has one of them alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from medseg.ingest.dicom_rules import plain_words
from medseg.io.dicom import terms
from medseg.io.dicom.rules import SeriesRules, escaped, like
from medseg.io.dicom.series import SeriesVolume

Sort = tuple[str, str]
"""Modality and description of a series; the description is one of those of its sort."""

_NUMBER = re.compile(r"(?<![^\W_])\d+(?![^\W_])")
_MOST_LISTED = 12


def sorted_by(usable: Sequence[SeriesVolume], labelled: Sequence[SeriesVolume]) -> dict[SeriesVolume, Sort]:
    """The sort of each series; that of all ``labelled`` ones is the same where each study has one of them."""
    forms = {volume: (volume.header.modality, _form(_description(volume))) for volume in usable}
    first: dict[Sort, Sort] = {}
    for volume in usable:
        first.setdefault(forms[volume], (volume.header.modality, _description(volume)))
    sorts = {volume: first[forms[volume]] for volume in usable}
    named = Counter(sorts[volume] for volume in labelled)
    studies = Counter(volume.header.study_uid for volume in usable if sorts[volume] in named)
    of_one_modality = len({modality for modality, _ in named}) == 1
    if len(named) < 2 or not of_one_modality or max(studies.values()) > 1:
        return sorts
    common = named.most_common(1)[0][0]
    return {volume: common if sort in named else sort for volume, sort in sorts.items()}


def rules(sort: Sort, sorts: Mapping[SeriesVolume, Sort]) -> SeriesRules:
    """The rules that choose the series of one sort and no others, by as few patterns as possible."""
    modality, _ = sort
    own = list(dict.fromkeys(_description(volume) for volume, its in sorts.items() if its == sort))
    others = [_description(volume) for volume, its in sorts.items() if its != sort and its[0] == modality]
    exact = [escaped(text) or "*" for text in own]
    short = list(dict.fromkeys(_NUMBER.sub("*", text) for text in exact)) if len(own) > 1 else exact
    if any(like(other, pattern) for other in others for pattern in short):
        short = exact
    if len(short) > _MOST_LISTED and not others:
        short = ["*"]
    return SeriesRules(modality=(modality,) if modality in terms.MODALITIES else (), description=tuple(short))


def _description(volume: SeriesVolume) -> str:
    return volume.header.description.strip()


def _form(description: str) -> str:
    return " ".join(_NUMBER.sub(" ", plain_words(description)).split())
