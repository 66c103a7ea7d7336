"""The layout subjects: a folder for each subject, perhaps with a folder for each of its sessions."""

from __future__ import annotations

import re
from collections import Counter

from medseg.ingest import subjects
from medseg.ingest.label_names import label_rank, split_label_ending
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.patterns import Patterns
from medseg.ingest.plain import LABEL_FOLDERS, common_suffix, side_by_side
from medseg.ingest.tree import without_suffix

_LEVELS = range(3)
_PLACEHOLDER = re.compile(r"\{\w+\}")


def patterns(files: list[str]) -> Patterns:
    """The patterns at the level where the folders' contents look most alike, the first of equals."""
    candidates = [_templates(files, level) for level in _LEVELS]
    usable = [counts for counts in candidates if counts]
    if not usable or max(map(_most, usable)) < 2:
        return side_by_side(files)
    counts = max(usable, key=_most)
    if sum(split_label_ending(t)[0] in counts for t in counts if split_label_ending(t)[1]) > 1:
        return side_by_side(files)  # scans with a label map each, as two frames of a heart, are cases
    most, suffix = _most(counts), common_suffix(files)
    ranked = [(_label_rank(template), template) for template in counts]
    labels = sorted((rank, -counts[t], t) for rank, t in ranked if rank is not None)
    images = sorted(t for rank, t in ranked if rank is None and counts[t] * 2 >= most)
    if not images:
        images = [max(counts, key=lambda t: (counts[t], t))]
    names = _channel_names(images)
    channels = {name: template + suffix for name, template in zip(names, images, strict=True)}
    label = labels[0][-1] + suffix if labels and labels[0][-1] not in images else None
    return Patterns(channels, label)


def _templates(files: list[str], level: int) -> Counter[str]:
    """Paths with the folder at ``level`` written as {case}, wherever its name stands; counted.

    Where folders of one name lie in several others, as sessions in subjects do, those others become
    {subject}, or {part} if they are named after roles; none at all where the names, few and repeated, are no
    sessions' but, for example, contrasts'.
    """
    deep = [parts for path in files if len(parts := without_suffix(path).split("/")) > level + 1]
    folders = {tuple(parts[: level + 1]) for parts in deep}
    names = {folder[-1] for folder in folders}
    around: str | None = None
    if level and len(names) < len(folders):
        if all(folder[-2].lower() in ROLES for folder in folders):
            around = "{part}"
        elif all(subjects.is_session(name) for name in names):
            around = "{subject}"
        elif 2 * len(names) <= len(folders):
            return Counter()
    counts: Counter[str] = Counter()
    for parts in deep:
        start = level - 1 if around else level
        rest = parts[start:]
        if around:
            rest = [_with_placeholder(part, parts[level - 1], around) for part in rest]
        rest = [_with_placeholder(part, parts[level], "{case}") for part in rest]
        counts["/".join([*["*"] * start, *rest])] += 1
    return counts


def _with_placeholder(part: str, folder: str, placeholder: str) -> str:
    """``part`` of a path with the folder's name replaced where it stands as a word, or begins the part.

    ``1`` is a word of ``T_1``, not of ``T1`` or ``10``; ``p1`` begins ``p1T1``.
    """
    name = re.escape(folder)
    as_word = rf"(?<![^\W_]){name}(?![^\W_])"
    going_on = r"(?!\d)" if folder[-1:].isdigit() else r"(?![^\W\d_])"
    return re.sub(rf"{as_word}|^{name}{going_on}", lambda _: placeholder, part)


def _most(counts: Counter[str]) -> int:
    return max(counts.values(), default=0)


def _label_rank(template: str) -> int | None:
    """Rank a template as a label map's (0 surest), by its name or by a folder's name."""
    folders, _, name = _PLACEHOLDER.sub("", template).rpartition("/")
    rank = label_rank(name)
    if rank is None and any(folder.lower() in LABEL_FOLDERS for folder in folders.split("/")):
        return label_rank("label")
    return rank


def _channel_names(templates: list[str]) -> list[str]:
    """``{case}_t1``, ``{case}_flair`` → t1, flair; a single channel is called image.

    Where the names are equal, the folders are added: ``{case}/T1/scan`` → T1_scan.
    """
    if len(templates) == 1:
        return ["image"]
    endings = [template.rpartition("/")[2] for template in templates]
    for texts in (endings, templates):
        words = [_PLACEHOLDER.sub("", text).replace("/", "_") for text in texts]
        names = [re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", word) or "image" for word in words]
        if len(set(names)) == len(names):
            return names
    return [f"image_{n}" for n in range(len(templates))]
