"""Label maps with a file for each lesion: parts of one segmentation, of which none alone is the truth.

Names that differ in a number alone may also be several raters'. Content tells: raters mark the same voxels,
parts of a segmentation have none in common.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from medseg.errors import some
from medseg.ingest.label_templates import MOST_CASES, TRIED, LabelTemplate, is_structure
from medseg.ingest.looks import Looks

_NUMBER = re.compile(r"\d+|\*")


def of_first(candidates: Sequence[LabelTemplate], looks: Looks) -> list[LabelTemplate]:
    """The first candidate and those that are parts of the same segmentations; none where it is whole."""
    first, *others = candidates
    if not _holds_one_value(first, looks):
        return []
    alike = [label for label in others if _without_numbers(label) == _without_numbers(first)]
    parts = [label for label in alike if _holds_one_value(label, looks) and _are_apart(first, label, looks)]
    return [first, *parts] if parts else []


def remark(names: Sequence[str]) -> str:
    """Say what to do about parts, given by the patterns of their files."""
    return (
        f"{some(names, 4)} differ in a number alone and share no voxel: they seem to be parts of one"
        " segmentation, as a file for each lesion. Merge those of a case into one file, 1 in all of them;"
        " or choose one by --label, if the others are something else"
    )


def _without_numbers(label: LabelTemplate) -> str:
    """The template, with any number outside its placeholders as ``#``."""
    return "".join(
        part if part.startswith("{") else _NUMBER.sub("#", part)
        for part in re.split(r"(\{\w+\})", label.template)
    )


def _holds_one_value(label: LabelTemplate, looks: Looks) -> bool:
    return all(is_structure(looks.at(path)) for path in list(label.files.values())[:TRIED])


def _are_apart(first: LabelTemplate, other: LabelTemplate, looks: Looks) -> bool:
    """True if label maps of most cases that have both share no voxel; empty ones tell nothing."""
    both = [(first.files[key], path) for key, path in other.files.items() if key in first.files]
    tried = [looks.share_voxels(*pair) for pair in both[:TRIED]]
    comparable = [shared for shared in tried if shared is not None]
    return bool(comparable) and comparable.count(False) >= MOST_CASES * len(comparable)
