"""Templates of label maps with the images that fit: which to take first, which are masks, which are left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.classes import MOST_MASKS
from medseg.errors import some
from medseg.ingest import class_names, freesurfer_names, label_names, placeholders
from medseg.ingest.looks import Look, Looks
from medseg.ingest.plain import LABEL_FOLDERS

Key = frozenset[str]
"""The words that tell a case."""

Files = dict[Key, str]
"""Case → its file of one template."""

MOST_CASES = 0.8
"""Share of the labelled cases that must have a channel, on the label map's grid."""

TRIED = 5
"""Files of a template that are looked at."""

_OFTEN = 0.5
_BRAIN = re.compile(r"(?<![a-z])(?:brain|head|bet|skull)(?![a-z])|brain_?mask", re.IGNORECASE)


@dataclass(frozen=True)
class LabelTemplate:
    """A template of label maps with the image templates that fit it."""

    template: str
    files: Files
    channels: tuple[str, ...]
    covered: frozenset[Key]
    too_few: tuple[str, ...]
    other_grid: tuple[str, ...]
    processed: tuple[str, ...]


def ranked(labels: list[LabelTemplate], looks: Looks) -> list[LabelTemplate]:
    """Label templates, the one to take first: of enough cases, no brain, the surest words, most cases."""
    most = max((len(label.covered) for label in labels), default=0)

    def merit(label: LabelTemplate) -> tuple[bool, bool, int, int, bool, int, str]:
        few = len(label.covered) < _OFTEN * most
        return (
            few,
            is_brain(label.template),
            -len(label.covered),
            label_rank(label.template),
            freesurfer_names.is_second(label.template),
            -max(len(looks.at(path).values) for path in list(label.files.values())[:TRIED]),
            label.template,
        )

    return sorted(labels, key=merit)


def is_brain(template: str) -> bool:
    """True for a template of masks of the whole brain."""
    return _BRAIN.search(template.rpartition("/")[2]) is not None


def label_rank(template: str) -> int:
    """The rank of a template as a label map's, by the name or by a folder; unknown words come last."""
    folders, _, name = template.rpartition("/")
    rank = label_names.label_rank(placeholders.without(name))
    if rank is None:
        rank = 0 if any(folder.lower() in LABEL_FOLDERS for folder in folders.split("/")) else None
    return len(label_names.LABEL_WORDS) if rank is None else rank


def _is_structure(look: Look) -> bool:
    """True for a label map of one value, or an empty one; a mask in colours is none."""
    return not look.in_colours and len({*look.values} - {0}) <= 1 and min(look.values, default=0) >= 0


def structures(candidates: list[LabelTemplate], looks: Looks) -> dict[str, str]:
    """Name → template of label maps that hold one structure each and that most cases have; or none."""
    first = candidates[0]
    alike = [
        label
        for label in candidates
        if label.channels == first.channels
        and not is_brain(label.template)
        and len(label.files.keys() & first.files.keys())
        >= MOST_CASES * len(label.files.keys() | first.files.keys())
        and all(_is_structure(looks.at(path)) for path in list(label.files.values())[:TRIED])
    ]
    if not 2 <= len(alike) <= MOST_MASKS or first not in alike:
        return {}
    templates = sorted(label.template for label in alike)
    names = class_names.of_structures(templates, first.channels)
    return dict(zip(names, templates, strict=True)) if names else {}


def remarks_on_others(
    chosen: LabelTemplate, others: Sequence[LabelTemplate], naming: placeholders.Naming
) -> list[str]:
    """Sentences on label maps that are not taken: of the same cases, and of cases in other folders.

    The latter have words that the chosen pattern has no placeholder for, so that an example stands for them.
    """
    taken = f"label maps are {naming.write(chosen.template)} ({counted_as(len(chosen.files), 'case')})"
    written = [(naming.write(other.template), other) for other in others]
    alike = [
        f"{text} ({counted_as(len(other.files), 'case')})"
        for text, other in written
        if not placeholders.in_template(text) - {"{role}"}
    ]
    elsewhere = [
        path
        for text, other in written
        for path in other.files.values()
        if placeholders.in_template(text) - {"{role}"}
    ]
    remarks = []
    if alike:
        remarks.append(
            f"{taken}, but there are also {some(alike, 4)}: choose by --label, or write them as data.masks"
            " if they overlap"
        )
    if elsewhere:
        lie = "1 more lies" if len(elsewhere) == 1 else f"{len(elsewhere)} more lie"
        remarks.append(
            f"{taken}; {lie} in folders of another depth, or with another word in their names, as"
            f" {elsewhere[0]}, and one pattern cannot name both: name all alike, or list"
            " all files in a table (layout csv)"
        )
    return remarks


def counted_as(number: int, noun: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
