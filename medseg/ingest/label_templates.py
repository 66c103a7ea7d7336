"""Templates of label maps with the images that fit: which to take first, which are masks, which are left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.classes import MOST_MASKS
from medseg.errors import some
from medseg.ingest import class_names, freesurfer_names, label_names, path_words, placeholders
from medseg.ingest.looks import Look, Looks
from medseg.ingest.plain import LABEL_FOLDERS
from medseg.ingest.tree import common_start, natural_key

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
_IN_BRAIN = re.compile(
    r"lesion|tumou?r|wmh|stroke|infarct|metast|h(?:a|ae)?ematoma|o?edema|tissue|region|structure|parc|vessel"
    r"|ventric",
    re.IGNORECASE,
)
_PROGRAM_WORDS = {
    *("auto", "automatic", "automated", "pred", "preds", "predicted", "prediction", "predictions"),
    *("fmriprep", "smriprep", "freesurfer", "spm", "cat12", "fsl", "ants"),
    *("nnunet", "samseg", "lst", "lpa", "synthseg", "fastsurfer", "totalsegmentator", "bianca"),
    *("old", "backup", "bak", "draft", "copy"),
}
"""Words of label maps that a program drew, and of those that others replaced."""


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


@dataclass(frozen=True)
class SortedFiles:
    """Templates of label maps and of images, each with the file of each case, and each case's words in order.

    A ``remark`` says what is not certain about them.
    """

    labels: dict[str, Files]
    images: dict[str, Files]
    order: dict[Key, tuple[str, ...]]
    remark: str = ""

    def n_paired(self) -> int:
        """The number of label maps whose case has an image."""
        with_images = {key for files in self.images.values() for key in files}
        return sum(key in with_images for files in self.labels.values() for key in files)


def ranked(labels: list[LabelTemplate], looks: Looks) -> list[LabelTemplate]:
    """Label templates, the one to take first: of enough cases, people's, no brain or mere mask, most cases.

    A file called mask alone, beside one with another name, is often the field of view.
    """
    most = max((len(label.covered) for label in labels), default=0)

    def merit(label: LabelTemplate) -> tuple[bool, bool, bool, bool, int, int, bool, int, str]:
        few = len(label.covered) < _OFTEN * most
        return (
            few,
            is_of_a_program(label.template),
            is_brain(label.template),
            label_rank(label.template) == label_names.LABEL_WORDS.index("mask"),
            -len(label.covered),
            label_rank(label.template),
            freesurfer_names.is_second(label.template),
            -max(len(looks.at(path).values) for path in list(label.files.values())[:TRIED]),
            label.template,
        )

    return sorted(labels, key=merit)


def is_brain(template: str) -> bool:
    """True for a template of masks of the whole brain, and not of something in it."""
    name = template.rpartition("/")[2]
    return _BRAIN.search(name) is not None and _IN_BRAIN.search(name) is None


def is_of_a_program(template: str) -> bool:
    """True for a template of label maps that a program drew, or old ones, by a word of a name or folder."""
    return any(word.lower() in _PROGRAM_WORDS for word in path_words.words_of(template))


def is_second_choice(template: str) -> bool:
    """True for label maps that are taken only where there are no others: programs', and masks of brains."""
    return is_of_a_program(template) or is_brain(template)


def label_rank(template: str) -> int:
    """The rank of a template as a label map's, by the name or by a folder; unknown words come last."""
    folders, _, name = template.rpartition("/")
    rank = label_names.label_rank(placeholders.without(name))
    if rank is None:
        rank = 0 if any(folder.lower() in LABEL_FOLDERS for folder in folders.split("/")) else None
    return len(label_names.LABEL_WORDS) if rank is None else rank


def is_structure(look: Look) -> bool:
    """True for a label map of one value, or an empty one; a mask in colours is none."""
    return not look.in_colours and len({*look.values} - {0}) <= 1 and min(look.values, default=0) >= 0


def structures(candidates: list[LabelTemplate], looks: Looks) -> dict[str, str]:
    """Name → template of label maps that hold one structure each and that most cases have; or none."""
    first = candidates[0]
    alike = [
        label
        for label in candidates
        if not is_brain(label.template) and _holds_structure(label, first, looks)
    ]
    if not 2 <= len(alike) <= MOST_MASKS or first not in alike:
        return {}
    templates = sorted(label.template for label in alike)
    names = class_names.of_structures(templates, first.channels)
    return dict(zip(names, templates, strict=True)) if names else {}


@dataclass(frozen=True)
class ClassFiles:
    """A template of files of one structure each, with ``{class}`` for its name; name → template joined."""

    template: str
    templates: dict[str, str]


def class_files(candidates: list[LabelTemplate], looks: Looks) -> ClassFiles | None:
    """Files of more structures than masks can be, which differ in a part of their names; None without."""
    first = candidates[0]
    alike = [label for label in candidates if _holds_structure(label, first, looks)]
    templates = sorted((label.template for label in alike), key=natural_key)
    if len(templates) <= MOST_MASKS or first not in alike:
        return None
    start = _to_a_joint(common_start(templates))
    end = _to_a_joint(common_start([template[::-1] for template in templates]))[::-1]
    names = {template[len(start) : len(template) - len(end)]: template for template in templates}
    n_named = sum(class_names.of_file_name(name, ()) is not None for name in names)
    if n_named < MOST_CASES * len(templates) or any(set(name) & set("/*{}[]") for name in names):
        return None
    return ClassFiles(f"{start}{{class}}{end}", names)


def _holds_structure(label: LabelTemplate, first: LabelTemplate, looks: Looks) -> bool:
    """True for label maps of one structure, of the channels of ``first`` and of most of its cases."""
    return (
        label.channels == first.channels
        and len(label.files.keys() & first.files.keys())
        >= MOST_CASES * len(label.files.keys() | first.files.keys())
        and all(is_structure(looks.at(path)) for path in list(label.files.values())[:TRIED])
    )


def _to_a_joint(text: str) -> str:
    """The text up to its last separator or placeholder, so that no word is cut."""
    return text[: max((hit.end() for hit in re.finditer(r"[/_\-. }]", text)), default=0)]


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
